"""Members in processes of their own, everything that can befall them, and a referee who trusts none of them."""
