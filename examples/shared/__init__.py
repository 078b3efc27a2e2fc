"""What the examples share: starting and stopping members, and drawing them. It shows nothing of the library."""
