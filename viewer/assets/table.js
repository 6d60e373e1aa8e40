// A table to sort and choose from. Columns: {key, name, number}. Items: {key, colour, cells: {column: [text, value]},
// pictures: {column: [[what, source], …]}}. Says {pick: key}.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children.filter(Boolean))
  return made
}

export function render({ model }) {
  const table = element("table", {})
  let by = "", falling = true
  const compare = (a, b) => {
    const [x, y] = [a, b].map((item) => item.cells[by]?.[1] ?? -Infinity)
    return (falling ? -1 : 1) * (x < y ? -1 : x > y ? 1 : 0)
  }
  const heading = ({ key, name, number }) => {
    const sortable = model.items.some((item) => item.cells[key])
    const mark = by === key ? (falling ? " ↓" : " ↑") : ""
    const cell = element("th", { scope: "col", className: number ? "number" : "" }, sortable
      ? element("button", {
        textContent: name + mark,
        onclick: () => {
          falling = by === key ? !falling : true
          by = key
          fill()
          table.querySelector(`th:nth-child(${model.columns.findIndex((column) => column.key === key) + 1}) button`).focus()
        },
      })
      : name)
    if (by === key) cell.ariaSort = falling ? "descending" : "ascending"
    return cell
  }
  const cell = (item, { key, number }) => {
    const pictures = item.pictures[key]
    if (pictures) {
      return element("td", {}, element("div", { className: "pictures" },
        ...pictures.map(([what, src]) => element("img", { src, title: what, alt: `${what} of ${item.cells.name[0]}` }))))
    }
    const said = item.cells[key]?.[0] ?? ""
    if (key !== "name") return element("td", { className: number ? "number" : "", textContent: said })
    const dot = element("span", { className: "dot" })
    dot.style.background = item.colour
    return element("td", {}, element("button", { className: "pick" }, dot, said))
  }
  const fill = () => {
    const items = by ? [...model.items].sort(compare) : model.items
    table.replaceChildren(
      element("thead", {}, element("tr", {}, ...model.columns.map(heading))),
      element("tbody", {}, ...items.map((item) => element("tr", {
        title: "Select these samples", onclick: () => model.send_msg({ pick: item.key }),
      }, ...model.columns.map((column) => cell(item, column))))))
  }
  model.on("items", fill)
  model.on("columns", fill)
  fill()
  return table
}
