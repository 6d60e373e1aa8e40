// Keep and share. Says {save: name, note}, {open: key}, {forget: key}, {csv}, {npy}, {nc}, {json}, {load: text} or {link}.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children.filter(Boolean))
  return made
}

const EXPORTS = [
  ["csv", "Table", "CSV"], ["npy", "Row numbers", "NumPy"], ["nc", "Samples", "netCDF"], ["json", "This view", "JSON"],
]

function figures() {
  const found = []
  const walk = (view) => {
    if (view.model?.type === "Figure") found.push(view)
    for (const child of view.child_views ?? []) walk(child)
  }
  for (const root of Object.values(window.Bokeh?.index?.roots ?? window.Bokeh?.index ?? {})) walk(root)
  return found.filter((view) => view.el.isConnected && view.el.getBoundingClientRect().width > 0)
}

function picture(ground) {
  const drawn = figures().map((view) => view.export("png", true).canvas)
  const canvas = element("canvas", {
    width: drawn.reduce((sum, one) => sum + one.width, 0), height: Math.max(...drawn.map((one) => one.height)),
  })
  const brush = canvas.getContext("2d")
  brush.fillStyle = ground
  brush.fillRect(0, 0, canvas.width, canvas.height)
  let x = 0
  for (const one of drawn) {
    brush.drawImage(one, x, 0)
    x += one.width
  }
  return canvas
}

export function render({ model }) {
  const say = (message) => model.send_msg(message)
  const status = element("div", { className: "status" })
  status.setAttribute("role", "status")
  const list = element("ul", {})

  const name = element("input", { type: "text", placeholder: "Name this finding", ariaLabel: "Name of the finding" })
  const note = element("textarea", { rows: 2, placeholder: "Note (optional)", ariaLabel: "Note on the finding", hidden: true })
  name.addEventListener("input", () => { note.hidden = !name.value && !note.value })
  const form = element("form", {
    onsubmit: (event) => {
      event.preventDefault()
      say({ save: name.value, note: note.value })
      name.value = note.value = ""
      note.hidden = true
    },
  }, name, element("button", { type: "submit", textContent: "Keep" }), note)
  note.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit()
  })

  const download = (href, file) => element("a", { href, download: file }).click()
  const png = () => {
    if (!figures().length) {
      status.textContent = "There is no picture: open a project with an embedding first"
      return
    }
    picture(getComputedStyle(ground).backgroundColor).toBlob((blob) => {
      const href = URL.createObjectURL(blob)
      download(href, "relfunc.png")
      setTimeout(() => URL.revokeObjectURL(href), 10000)
    })
    status.textContent = "relfunc.png is being downloaded"
  }
  const choice = (what, format, onclick) => element("button", { type: "button", className: "choice", onclick },
    element("span", { textContent: what }), element("small", { textContent: format }))
  const menu = (label, ...parts) => {
    const held = element("details", { name: "keep" }, element("summary", { textContent: label }), element("div", { className: "menu" }, ...parts))
    held.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !held.open) return
      event.stopPropagation()
      held.open = false
      held.firstChild.focus()
    })
    return held
  }
  const exporting = menu("Export",
    ...EXPORTS.map(([key, what, format]) => choice(what, format, () => say({ [key]: true }))),
    choice("Picture of the map", "PNG", png))

  const chosen = element("input", {
    type: "file", accept: ".json", ariaLabel: "File of a view",
    onchange: async () => {
      if (chosen.files[0]) say({ load: await chosen.files[0].text() })
      chosen.value = ""
    },
  })
  const pasted = element("input", { type: "text", placeholder: "Paste a link", ariaLabel: "Link to a view" })
  const importing = menu("Import",
    element("label", { className: "file", textContent: "Choose a file of a view" }, chosen),
    element("form", {
      onsubmit: (event) => {
        event.preventDefault()
        if (pasted.value) say({ load: pasted.value })
        pasted.value = ""
      },
    }, pasted, element("button", { type: "submit", textContent: "Open" })))
  const buttons = element("div", { className: "buttons" },
    element("button", { type: "button", textContent: "Copy link", onclick: () => say({ link: true }) }), exporting, importing)

  const items = () => list.replaceChildren(...model.items.map((item) => element("li", {},
    element("button", { className: "open", title: item.note, onclick: () => say({ open: item.key }) },
      element("b", { textContent: item.name }), item.note && element("span", { className: "note", textContent: item.note }),
      element("span", { textContent: item.of })),
    element("button", {
      className: "forget", textContent: "×", title: `Remove ${item.name}`, ariaLabel: `Remove ${item.name}`,
      onclick: () => say({ forget: item.key }),
    }))))
  const file = () => {
    if (!model.file.name) return
    const bytes = Uint8Array.from(atob(model.file.data), (letter) => letter.charCodeAt(0))
    const href = URL.createObjectURL(new Blob([bytes], { type: model.file.kind }))
    download(href, model.file.name)
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
  const ground = element("div", { className: "ground" })
  return element("div", { className: "all" }, element("h2", { textContent: "Keep and share" }), list, form, buttons, status, ground)
}
