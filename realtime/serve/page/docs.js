// The HTTP API, from its OpenAPI description.
function element(tag, text = "") {
  return Object.assign(document.createElement(tag), { textContent: text });
}

function example(schema, schemas) {
  if (!schema) return null;
  if (schema.$ref) return example(schemas[schema.$ref.split("/").at(-1)], schemas);
  if (schema.enum) return schema.enum[0];
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (type === "object") {
    return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([key, one]) => [key, example(one, schemas)]));
  }
  if (type === "array") return Array.from({ length: schema.minItems ?? 1 }, () => example(schema.items, schemas));
  return { number: 0.5, integer: 1, boolean: true }[type] ?? "text";
}

function operation(path, method, one, schemas) {
  const section = document.createElement("section");
  section.append(element("h2", `${method.toUpperCase()} ${path}`), element("p", one.summary));
  if (one.description) section.append(element("p", one.description));
  for (const parameter of one.parameters ?? []) {
    section.append(element("p", `${parameter.name} (${parameter.in}): ${parameter.description ?? parameter.schema.type}`));
  }
  for (const [status, answer] of Object.entries(one.responses)) {
    const [type, content] = Object.entries(answer.content ?? {})[0] ?? [];
    section.append(element("p", `${status}: ${answer.description}${type ? ` (${type})` : ""}`));
    if (status === "200" && content?.schema) {
      section.append(element("pre", JSON.stringify(example(content.schema, schemas), null, 1)));
    }
  }
  return section;
}

const description = await (await fetch("/openapi.json")).json();
const docs = document.getElementById("docs");
docs.append(element("p", description.info.description));
for (const [path, methods] of Object.entries(description.paths)) {
  for (const [method, one] of Object.entries(methods)) docs.append(operation(path, method, one, description.components.schemas));
}
