// Keep and share. Says {save: name}, {open: key}, {forget: key}, {csv}, {npy}, {json}, {load: text} or {link}.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children.filter(Boolean))
  return made
}

export function render({ model }) {
  const say = (message) => model.send_msg(message)
  const name = element("input", { type: "text", placeholder: "Name a finding" })
  name.setAttribute("aria-label", "Name of the finding")
  const form = element("form", {
    onsubmit: (event) => {
      event.preventDefault()
      say({ save: name.value })
      name.value = ""
    },
  }, name, element("button", { type: "submit", textContent: "Keep" }))
  const list = element("ul", {})
  const status = element("div", { className: "status" })
  status.setAttribute("role", "status")
  const chosen = element("input", {
    type: "file", accept: ".json",
    onchange: async () => {
      if (chosen.files[0]) say({ load: await chosen.files[0].text() })
      chosen.value = ""
    },
  })
  const buttons = [["Copy link", "link"], ["CSV", "csv"], ["Indices", "npy"], ["View", "json"]].map(([textContent, key]) =>
    element("button", { type: "button", textContent, onclick: () => say({ [key]: true }) }))
  const items = () => list.replaceChildren(...model.items.map((item) => element("li", {},
    element("button", { className: "open", onclick: () => say({ open: item.key }) },
      element("b", { textContent: item.name }), element("span", { textContent: item.note })),
    element("button", { className: "forget", textContent: "×", title: `Remove ${item.name}`, onclick: () => say({ forget: item.key }) }))))
  const file = () => {
    if (!model.file.name) return
    const bytes = Uint8Array.from(atob(model.file.data), (letter) => letter.charCodeAt(0))
    const href = URL.createObjectURL(new Blob([bytes], { type: model.file.kind }))
    element("a", { href, download: model.file.name }).click()
    setTimeout(() => URL.revokeObjectURL(href), 10000)
  }
  const link = async () => {
    const address = `${location.origin}${location.pathname}?${model.shared.query}`
    history.replaceState(null, "", address)
    try {
      await navigator.clipboard.writeText(address)
    } catch {
      status.textContent = "The link is in the address bar"
    }
  }
  const tell = () => { status.textContent = model.status }
  model.on("items", items)
  model.on("file", file)
  model.on("shared", link)
  model.on("status", tell)
  items()
  tell()
  return element("div", { className: "all" }, element("h2", { textContent: "Keep and share" }), list, form,
    element("div", { className: "buttons" }, ...buttons, element("label", { className: "file", textContent: "Import" }, chosen)), status)
}
