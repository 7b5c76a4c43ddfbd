// Shows /openapi.json. Text goes in through textContent only, so nothing in it can become markup.
"use strict";

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function resolve(api, schema) {
  if (!schema || !schema.$ref) return schema;
  return schema.$ref.split("/").slice(1).reduce((at, name) => at[name], api);
}

function inline(api, schema, depth) {
  const found = resolve(api, schema);
  if (Array.isArray(found)) return found.map((one) => inline(api, one, depth));
  if (!found || typeof found !== "object" || depth > 8) return found;
  return Object.fromEntries(
    Object.entries(found).map(([name, value]) => [name, inline(api, value, depth + 1)]));
}

function schemaBlock(api, schema) {
  return make("pre", JSON.stringify(inline(api, schema, 0), null, 2));
}

function sentences(text) {
  const lines = text.split("\n");
  if (lines.length === 1 && !text.startsWith("- ")) return make("span", text);
  const list = make("ul");
  for (const line of lines) list.append(make("li", line.replace(/^- /, "").replaceAll("`", "")));
  return list;
}

function responseTable(api, responses) {
  const table = make("table");
  for (const [status, response] of Object.entries(responses)) {
    const row = make("tr");
    const cell = make("td");
    cell.append(sentences(response.description));
    if (status < "300") {
      for (const content of Object.values(response.content || {})) {
        cell.append(schemaBlock(api, content.schema));
      }
    }
    row.append(make("td", status), cell);
    table.append(row);
  }
  return table;
}

function operationBlock(api, path, method, operation) {
  const block = make("details");
  const title = make("summary");
  title.append(make("span", method.toUpperCase(), "method"), make("code", path),
    document.createTextNode(" " + operation.summary));
  block.append(title);
  if (operation.description) block.append(make("p", operation.description));
  const names = operation.security.flatMap((one) => Object.keys(one));
  for (const name of names) {
    const scheme = api.components.securitySchemes[name];
    block.append(make("p", "Authorization: " + scheme.description.replaceAll("`", "")));
  }
  for (const parameter of operation.parameters) {
    block.append(make("h4", parameter.name + " (" + parameter.in + ")"));
    if (parameter.description) block.append(make("p", parameter.description));
    block.append(schemaBlock(api, parameter.schema));
  }
  if (operation.requestBody) {
    block.append(make("h4", "Body"), make("p", operation.requestBody.description));
    for (const content of Object.values(operation.requestBody.content)) {
      block.append(schemaBlock(api, content.schema));
    }
  }
  block.append(make("h4", "Answers"), responseTable(api, operation.responses));
  return block;
}

async function show() {
  const main = document.getElementById("operations");
  try {
    const api = await (await fetch("/openapi.json")).json();
    document.getElementById("about").textContent = api.info.description;
    main.replaceChildren();
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        main.append(operationBlock(api, path, method, operation));
      }
    }
  } catch (error) {
    main.textContent = "The description could not be loaded: " + error.message;
  }
}

show();
