// Invalidating: the form, the question, the answer. Last of the scripts, so it starts the page.
"use strict";

const WORDS = {
  tag: {
    label: "Tag", title: "Invalidate this tag?", help: "As in the attributes, with values: user:42",
    text: "Every entry that carries it becomes invalid, and the entry of that name. The next call of each goes to its source.",
  },
  key: {
    label: "Key", title: "Drop the entry under this key?", help: "Without prefix and version: user:42",
    text: "The next call goes to its source.",
  },
  function: {
    label: "Function", title: "Clear this function?", help: "Functions that have used this cache.",
    text: "All of its entries become invalid. Every next call goes to its source: the source sees them all at once.",
  },
};

let asked = null;

function kind() {
  return document.querySelector("input[name=kind]:checked").value;
}

function shape() {
  const which = kind();
  say($("name-label"), WORDS[which].label);
  say($("name-help"), WORDS[which].help);
  $("name").hidden = which === "function";
  $("function").hidden = which !== "function";
  $("name-label").htmlFor = which === "function" ? "function" : "name";
  if (which === "function" && seen.now) {
    const chosen = $("function").value;
    const paths = seen.now.functions.filter((row) => row.kind !== "direct").map((row) => row.path);
    $("function").replaceChildren(...paths.map((path) => make("option", { value: path, textContent: path })));
    if (paths.includes(chosen)) $("function").value = chosen;
  }
}

function ask(what) {
  asked = what;
  say($("confirm-title"), WORDS[what.kind].title);
  say($("confirm-what"), what.name);
  say($("confirm-text"), `${WORDS[what.kind].text} ${what.tenant ? `Only entries of the tenant ${what.tenant}.` : "Entries that belong to a tenant stay."}`);
  say($("confirm-wrong"), "");
  $("sure").disabled = false;
  $("confirm").showModal();
}

// From the table: of the tenant that the form names. Where one has to be named, the form is where.
function clear(path) {
  const tenant = $("tenant").value.trim();
  if (!seen.now.cache.isolated || tenant) {
    ask({ kind: "function", name: path, tenant });
    return;
  }
  document.querySelector("input[name=kind][value=function]").checked = true;
  shape();
  $("function").value = path;
  say($("tenant-help"), "Say of which tenant: every entry belongs to one.");
  $("tenant").focus();
}

function toast(text) {
  say($("toast"), text);
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => say($("toast"), ""), 6000);
}

async function drop() {
  const what = asked;
  $("sure").disabled = true;
  let wrong;
  try {
    const response = await fetch(`${BASE}invalidate`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-cache-token": TOKEN },
      body: JSON.stringify({ kind: what.kind, name: what.name, tenant: what.tenant || null, confirmed: true }),
    });
    const text = await response.text();
    const answer = response.headers.get("content-type")?.startsWith("application/json") ? JSON.parse(text) : { done: false, reason: text.trim() };
    if (answer.done) {
      const many = answer.dropped === undefined ? "" : answer.dropped === 0 ? "there was none" : "dropped";
      $("done").prepend(make("li", {},
        make("time", { textContent: new Date().toLocaleTimeString("en-GB") }),
        make("span", { className: "code", textContent: what.name }),
        make("em", { textContent: [what.kind, what.tenant, many].filter(Boolean).join(", ") })));
      while ($("done").children.length > 5) $("done").lastChild.remove();
      $("confirm").close();
      toast(answer.dropped === 0 ? `There is no entry under ${what.name}.` : `Invalidated ${what.kind} ${what.name}.`);
      return;
    }
    wrong = answer.reason || `the server answered ${response.status}`;
  } catch {
    wrong = "the server could not be reached: it is not known whether anything was done";
  }
  $("sure").disabled = false;
  say($("confirm-wrong"), `Not done: ${wrong}.`.replace(/\.\.$/, "."));
}

$("drop").addEventListener("change", shape);
$("drop").addEventListener("submit", (event) => {
  event.preventDefault();
  const which = kind();
  const field = which === "function" ? $("function") : $("name");
  const name = field.value.trim();
  if (!name) {
    say($("name-help"), `Say which ${which}.`);
    field.focus();
    return;
  }
  const tenant = $("tenant").value.trim();
  if (seen.now?.cache.isolated && !tenant) {
    say($("tenant-help"), "Say of which tenant: every entry belongs to one.");
    $("tenant").focus();
    return;
  }
  ask({ kind: which, name, tenant });
});
$("confirm-form").addEventListener("submit", (event) => {
  event.preventDefault();
  drop();
});
$("cancel").addEventListener("click", () => $("confirm").close());

if (READ_ONLY) $("invalidate").hidden = true;
if (READ_ONLY) document.querySelector(".pair").style.gridTemplateColumns = "minmax(0, 1fr)";
shape();
listen();
drawCatalogue();
