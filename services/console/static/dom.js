// Builds elements. Text goes in as text only: what strangers sent is never read as HTML.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") made.className = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : String(child ?? ""))));
  return made;
}

export function say(id, text) {
  const node = typeof id === "string" ? $(id) : id;
  if (node.textContent !== text) node.textContent = text;
}

// One table row; cells are [column name, content, class].
export function row(...cells) {
  return element(
    "tr",
    {},
    ...cells.map(([name, content, kind]) => element("td", { "data-name": name, class: kind }, element("span", {}, content))),
  );
}

export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
