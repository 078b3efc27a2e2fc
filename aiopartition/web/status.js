"use strict";
// Everything from the tree is set as text, never as markup. Characters that could move or hide other text are shown as
// their codes.
const INTERVAL = 2000;
const LONGEST = 120;

function printable(value) {
  const text = String(value).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (each) => `\\u{${each.codePointAt(0).toString(16)}}`);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

function element(name, classes, ...children) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.append(...children.filter((each) => each !== null));
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

function duration(seconds) {
  if (seconds === null) return "";
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

function bar(part) {
  const fill = element("span", "fill");
  fill.style.width = `${Math.min(100, Math.max(0, 100 * part))}%`;
  return element("span", "track", fill);
}

function fact(name, value) {
  return element("span", "", `${name} `, element("b", "", printable(value)));
}

function lease(group, length) {
  if (group.lease_left === null || length === null) return fact("lease", "without end");
  const part = length > 0 ? group.lease_left / length : 0;
  const gauge = element(
    "span", part < 0.25 ? "gauge low" : "gauge", "lease left ", bar(part), element("b", "", `${group.lease_left.toFixed(1)} s`),
  );
  gauge.setAttribute("role", "meter");
  gauge.setAttribute("aria-label", "lease left, seconds");
  gauge.setAttribute("aria-valuemin", "0");
  gauge.setAttribute("aria-valuemax", length.toFixed(1));
  gauge.setAttribute("aria-valuenow", group.lease_left.toFixed(1));
  return gauge;
}

function memberRow(member, largest) {
  const metadata = Object.entries(member.metadata).map(([key, value]) => `${printable(key)}: ${printable(value)}`).join(", ");
  const name = element(
    "td", "name", printable(member.id), member.self ? element("span", "self", "this member") : null,
    member.weight === 0 ? element("span", "drained", "drained") : null,
    metadata ? element("span", "metadata", metadata) : null,
  );
  const host = member.host === null ? "" : printable(member.host) + (member.pid === null ? "" : ` · ${member.pid}`);
  return element(
    "tr", member.self ? "own" : "",
    name,
    element("td", "bar", bar(largest > 0 ? member.share / largest : 0)),
    element("td", "number", percent(member.share)),
    element("td", "host", host),
    element("td", "age number", duration(member.age)),
    element("td", "weight number", String(member.weight)),
  );
}

function memberTable(group) {
  const head = element("tr", "");
  for (const [title, classes] of [["member", ""], ["", ""], ["share", "number"], ["host · pid", ""], ["up", "number"], ["weight", "number"]]) {
    head.append(element("th", classes, title));
  }
  const largest = Math.max(0, ...group.members.map((member) => member.share));
  const rows = group.members.map((member) => memberRow(member, largest));
  return element("table", "", element("thead", "", head), element("tbody", "", ...rows));
}

function handoff(group) {
  if (!group.waiting_for.length) return null;
  const who = group.waiting_for.slice(0, 10).map((each) => {
    const where = each.host === null ? "" : ` (${printable(each.host)}, pid ${each.pid})`;
    return printable(each.member_id) + where + (each.works.length ? `: ${each.works.slice(0, 5).map(printable).join(", ")}` : "");
  });
  const more = group.waiting_for.length - who.length;
  return element("p", "notice handoff", `The handoff has been waiting ${group.waiting.toFixed(1)} s for ${who.join("; ")}${more ? ` and ${more} more` : ""}.`);
}

function groupCard(group, data) {
  const style = { "steady": "steady", "observing": "observing", "handing over": "waiting" }[group.state] || "unknown";
  const policy = group.policy;
  const title = element("h2", "", printable(group.group_id));
  const facts = element("div", "facts", fact("generation", group.generation ?? "–"), fact("members", group.members.length), fact("own share", percent(group.own_share)));
  if (policy && policy.exclusive) facts.append(fact("exclusive, active", group.active_generation ?? "–"), fact("in flight", group.in_flight));
  if (policy && policy.replicas > 1) facts.append(fact("replicas", policy.replicas));
  facts.append(lease(group, data.lease_length));
  const card = element("article", "", element("div", "head", title, element("span", `pill ${style}`, group.state)));
  card.dataset.group = group.group_id;
  if (group.reason) card.append(element("p", "notice", printable(group.reason)));
  card.append(facts);
  const waits = handoff(group);
  if (waits) card.append(waits);
  if (group.members.length) card.append(memberTable(group));
  return card;
}

function listed(names, count) {
  const shown = names.map(printable).join(", ");
  return count > names.length ? `${shown} and ${count - names.length} more` : shown;
}

function sentence(change) {
  const group = change.group === undefined ? "" : `${printable(change.group)}: `;
  switch (change.event) {
    case "group_joined": return `${group}joined at generation ${change.generation}, own share ${percent(change.share_after)}`;
    case "group_observed": return `${group}observed at generation ${change.generation}`;
    case "group_left": return `${group}left`;
    case "membership_changed": {
      const parts = [];
      if (change.joined_count) parts.push(`${listed(change.joined, change.joined_count)} joined`);
      if (change.left_count) parts.push(`${listed(change.left, change.left_count)} left`);
      if (!parts.length) parts.push("weights changed");
      return `${group}${parts.join(", ")}; ${percent(change.moved)} moved, own share ${percent(change.share_before)} → ${percent(change.share_after)}`;
    }
    case "ownership_lost": return `${group}ownership is unknown: ${printable(change.reason)}`;
    case "ownership_regained": return `${group}ownership is known again, own share ${percent(change.share_after)}`;
    default: return `${change.event.replaceAll("_", " ")}: ${printable(change.reason ?? "")}`;
  }
}

function changeLine(change) {
  const when = element("time", "", new Date(change.time).toLocaleTimeString([], { hour12: false }));
  when.dateTime = when.title = change.time;
  return element("li", "", when, element("span", "", sentence(change)));
}

function show(data) {
  document.title = `${printable(data.member_id)} · aiopartition`;
  document.getElementById("member").textContent = printable(data.member_id);
  const where = !data.active ? "partitioning is off: everything is owned here" : data.connected ? `connected to ${printable(data.server ?? "")}` : "not connected";
  document.getElementById("summary").textContent = `${data.ready ? "ready" : "not ready"} · ${where}${data.session_timeout === null ? "" : ` · session timeout ${data.session_timeout} s`}`;
  complain(data.ready ? "" : data.reason);
  document.getElementById("groups").replaceChildren(...data.groups.map((group) => groupCard(group, data)));
  const changes = data.changes.slice(0, 20).map(changeLine);
  document.getElementById("changes").replaceChildren(...(changes.length ? changes : [element("li", "faint", "none yet")]));
  document.getElementById("version").textContent = `aiopartition ${data.version} · ${data.time}`;
}

function complain(text) {
  const place = document.getElementById("trouble");
  place.hidden = !text;
  place.textContent = text ? printable(text) : "";
}

async function refresh() {
  try {
    const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(10000) });
    const data = await answer.json();
    if (answer.ok) show(data);
    else complain(data.error || `status ${answer.status}`);
  } catch (error) {
    complain(`No answer from this process; this page may be out of date (${error.message}).`);
  }
}

async function follow() {
  if (!document.hidden) await refresh();
  setTimeout(follow, INTERVAL);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
follow();
