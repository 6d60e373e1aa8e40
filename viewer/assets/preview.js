// The sample under the pointer: a sample as in the gallery, or nothing. Says {clear} when Escape is pressed.
export function render({ model }) {
  const box = document.createElement("div")
  box.className = "tip"
  box.setAttribute("aria-hidden", "true")
  const fill = () => {
    const item = model.item
    box.hidden = !item.id
    if (box.hidden) return
    const pictures = document.createElement("div")
    pictures.className = "pictures"
    for (const [kind, src] of item.pictures.slice(0, 2)) {
      pictures.append(Object.assign(document.createElement("img"), { src, alt: kind }))
    }
    const line = document.createElement("div")
    line.className = "line"
    const dot = Object.assign(document.createElement("span"), { className: "dot" })
    dot.style.background = item.colour ?? "transparent"
    line.append(dot, Object.assign(document.createElement("b"), { textContent: item.id }),
      Object.assign(document.createElement("span"), { textContent: item.within }))
    const says = Object.assign(document.createElement("div"), {
      className: `says ${item.wrong ? "wrong" : ""}`, textContent: `${item.says} (${item.sure})`,
    })
    box.replaceChildren(pictures, line, says)
  }
  const pressed = (event) => {
    if (event.key === "Escape" && !event.composedPath().some((node) => node.tagName === "DIALOG")) {
      model.send_msg({ clear: true })
    }
  }
  document.addEventListener("keydown", pressed)
  model.on("remove", () => document.removeEventListener("keydown", pressed))
  model.on("item", fill)
  fill()
  return box
}
