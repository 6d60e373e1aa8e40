// Samples as columns of pictures. Items: {key, id, says, wrong, colour, title, pictures: [[kind, source], …]}.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children.filter(Boolean))
  return made
}

function sample(item, model) {
  const dot = item.colour && element("span", { className: "dot" })
  if (dot) dot.style.background = item.colour
  const button = element("button", {
    className: "sample", title: item.title, onclick: () => model.send_msg({ open: item.key }),
  },
  ...item.pictures.map(([kind, src]) => element("img", { src, alt: `${kind} of ${item.id}`, draggable: false })),
  element("span", { className: "row" }, dot, element("span", { className: "id", textContent: item.id })),
  element("span", { className: `says ${item.wrong ? "wrong" : ""}`, textContent: item.says }))
  button.dataset.key = item.key
  return button
}

export function render({ model, el }) {
  const fill = () => {
    if (model.items.length === 0) {
      const [title, text] = model.notice
      grid.className = "empty"
      grid.replaceChildren(element("b", { textContent: title }), element("span", { textContent: text }))
      return
    }
    grid.className = `grid ${model.pixelated ? "pixelated" : ""}`
    grid.replaceChildren(...model.items.map((item) => sample(item, model)))
    grid.parentElement?.scrollTo?.(0, 0)
  }
  const grid = element("div", {})
  model.on("items", fill)
  fill()
  return grid
}
