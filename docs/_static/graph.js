/* What a session would run, for the graph on the page: fetches and feeds are clicked. */
"use strict";

/* Walks backwards from the fetches and stops at what is fed, as exercises/graph_view.py does.
   `ops` is a Map from an op's name; fetches are names of tensors ("loss:0") or ops. */
function plan(ops, fetches, feeds) {
  const fed = new Set(feeds);
  const reached = new Set();
  const waiting = fetches.filter((name) => !fed.has(name));
  while (waiting.length) {
    const name = waiting.pop().replace(/:\d+$/, "");
    if (reached.has(name)) continue;
    reached.add(name);
    const op = ops.get(name);
    waiting.push(...op.inputs.filter((tensor) => !fed.has(tensor)), ...op.controls);
  }
  const missing = [...reached].filter((name) => ops.get(name).type === "Placeholder");
  return { reached, missing: missing.sort() };
}

function start(tool) {
  const data = JSON.parse(tool.querySelector("script.graph").textContent);
  const ops = new Map(data.ops.map((op) => [op.name, op]));
  const shapes = new Map(
    [...tool.querySelectorAll(".op")].map((shape) => [shape.dataset.op, shape]));
  const edges = [...tool.querySelectorAll(".edge")];
  const answer = tool.querySelector(".answer");
  const fetches = new Set();
  const feeds = new Set();

  function show() {
    const { reached, missing } = plan(ops, [...fetches], [...feeds]);
    const fedOps = new Set([...feeds].map((name) => name.replace(/:\d+$/, "")));
    for (const [name, shape] of shapes) {
      shape.classList.toggle("missing", missing.includes(name));
      shape.classList.toggle("runs", reached.has(name) && !missing.includes(name));
      shape.classList.toggle("fed", fedOps.has(name) && !reached.has(name));
      shape.classList.toggle("fetched", fetches.has(name) || fetches.has(name + ":0"));
    }
    for (const edge of edges) {
      const from = edge.dataset.from;
      const isLit = reached.has(edge.dataset.to) && (reached.has(from) || fedOps.has(from));
      edge.classList.toggle("lit", isLit);
    }
    const count = reached.size;
    answer.dataset.count = count;
    answer.classList.toggle("fails", missing.length > 0);
    if (!fetches.size) {
      answer.textContent = `${ops.size} ops. Click one to fetch it.`;
    } else if (missing.length) {
      answer.textContent = "You must feed a value for " + missing.join(" and ") +
        `. The run needs ${count} of ${ops.size} ops, and fails.`;
    } else {
      answer.textContent = `${count} of ${ops.size} ops run.`;
    }
    const list = (names) => [...names].join(", ") || "nothing";
    tool.querySelector(".picked").textContent =
      `sess.run fetches ${list(fetches)}; the feed dictionary holds ${list(feeds)}.`;
  }

  function click(name) {
    const isFeed = tool.querySelector("input[name=click]:checked").value === "feed";
    const op = ops.get(name);
    if (isFeed && !op.outputs) {
      answer.textContent = `${name} has no output, so there is nothing to feed.`;
      return;
    }
    const key = op.outputs ? name + ":0" : name;
    const chosen = isFeed ? feeds : fetches;
    if (!chosen.delete(key)) chosen.add(key);
    show();
  }

  function take(choice) {
    fetches.clear();
    feeds.clear();
    choice.fetches.forEach((name) => fetches.add(name));
    choice.feeds.forEach((name) => feeds.add(name));
    show();
  }

  for (const [name, shape] of shapes) {
    shape.addEventListener("click", () => click(name));
    shape.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        click(name);
      }
    });
  }
  for (const choice of data.choices) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = choice.title;
    button.addEventListener("click", () => take(choice));
    tool.querySelector(".choices").append(button);
  }
  tool.querySelector("[data-clear]").addEventListener(
    "click", () => take({ fetches: [], feeds: [] }));
  show();
}

if (typeof document === "undefined") {
  module.exports = { plan };
} else {
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("#graph-tool").forEach(start);
  });
}
