// What moves with time on the page, in the browser: no request is made while one scrubs.
// One function serves every cause; `a` holds the models of the page by name.

const ZERO = 128, REACH = 1.25, MOST_EDGES = 500, TICK = 60
const BLUE = "#0b3c7d", ORANGE = "#d07a00", GREY = "#a0a0a0"

let times = [0], playing = null, pair = null, sketch = null, seen = null

const weight = (code) => {
  const q = Math.max(Math.abs(code - ZERO), 1)
  return Math.sign(code - ZERO) * REACH * ((q - 1) / 126) ** 2
}
const column = (source, name) => source.data[name]
const blank = (data) => Object.values(data).every((column) => column.length == 0)
const set = (source, data) => { if (!blank(data) || !blank(source.data)) source.data = data }

// Time --------------------------------------------------------------------------------------------

function times_of(a) {
  const both = [...column(a.frames, "t"), ...column(a.frames_before, "t")]
  times = [...new Set(both)].sort((x, y) => x - y)
  if (times.length == 0) times = [0]
}

const now = (a) => times[Math.min(a.time.value, times.length - 1)]

function frame_at(frames, t) {
  const all = column(frames, "t")
  let k = 0
  while (k + 1 < all.length && all[k + 1] <= t) k++
  return k
}

function jump(a, t) {
  let k = 0
  while (k + 1 < times.length && Math.abs(times[k + 1] - t) <= Math.abs(times[k] - t)) k++
  a.time.value = k
}

function play(a) {
  clearInterval(playing)
  playing = null
  a.play.label = a.play.active ? "❚❚ pause" : "▶ play"
  if (!a.play.active) return
  if (a.time.value >= a.time.end) a.time.value = 0
  playing = setInterval(() => {
    if (a.time.value >= a.time.end) a.play.active = false
    else a.time.value += 1
  }, TICK)
}

// All of a span, unless one has zoomed into it.
function span(range, start, last) {
  const end = Math.max(last, 1.01 * start), zoomed = range.start != range.reset_start || range.end != range.reset_end
  range.setv({reset_start: start, reset_end: end, ...(zoomed ? {} : {start, end})})
}

// Pictures ----------------------------------------------------------------------------------------

// Both futures are arranged alike where they have the same neurons.
function orders(a, order) {
  const other = order == a.order ? a.order_before : a.order
  const k = Math.max(0, column(order, "name").indexOf(a.order_by.value))
  const names = column(order, "names")[k], theirs = column(other, "names")[k]
  const alike = theirs != null && theirs.length == names.length && theirs.every((x, c) => x == names[c])
  const first = alike ? a.order : order
  const alive = new Set([...column(order, "alive")[k], ...(alike ? column(other, "alive")[k] : [])])
  const all = column(first, "neurons")[k]
  const live = a.which.active == 0 && alive.size > 0
  return {features: column(first, "features")[k], names, neurons: live ? all.filter((c) => alive.has(c)) : all}
}

function arranged(image, rows, columns) {
  const width = image.shape[1], out = new image.constructor(rows.length * columns.length,
    [rows.length, columns.length])
  for (let r = 0, at = 0; r < rows.length; r++)
    for (let c = 0; c < columns.length; c++) out[at++] = image[rows[r] * width + columns[c]]
  return out
}

function picture(figure, source, image) {
  const [height, width] = image.shape, there = column(source, "image")[0]
  if (there?.shape[1] == width && there.length == image.length && there.every((code, k) => code == image[k])) return
  set(source, {image: [image], dw: [width], dh: [height]})
  if (figure.x_range.end != width && figure.x_range.reset_end != width) {
    figure.x_range.setv({start: 0, end: width, reset_start: 0, reset_end: width})
    figure.y_range.setv({start: height, end: 0, reset_start: height, reset_end: 0})
  }
}

function graph(a, suffix, W, {features, neurons, names}) {
  const width = W.shape[1], found = [], spread = (k, n) => (n < 2 ? 0.5 : k / (n - 1))
  const used = [...neurons].filter((k) => {
    for (let i = 0; i < W.shape[0]; i++) if (Math.abs(W[i * width + k] - ZERO) > 40) return true
    return false
  })
  features.forEach((i, r) => used.forEach((k, c) => {
    const code = W[i * width + k]
    if (code != ZERO) found.push([Math.abs(code - ZERO), i, k, r, c, code])
  }))
  found.sort((x, y) => y[0] - x[0])
  const load = new Map(), kept = found.slice(0, MOST_EDGES)
  for (const [size, , k] of kept) if (size > 40) load.set(k, (load.get(k) ?? 0) + 1)
  const colour = (k) => (load.get(k) > 1 ? ORANGE : load.get(k) ? BLUE : GREY)
  set(a[`edges${suffix}`], {
    x0: kept.map(() => 0), x1: kept.map(() => 1),
    y0: kept.map((e) => spread(e[3], features.length)),
    y1: kept.map((e) => spread(e[4], used.length)),
    width: kept.map((e) => 0.3 + 2.5 * (e[0] / 127) ** 2),
    colour: kept.map((e) => colour(e[2])),
    dash: kept.map((e) => (e[5] < ZERO ? [5, 3] : [])),
    who: kept.map((e) => `feature ${e[1]} on neuron ${names[e[2]]}`),
    w: kept.map((e) => weight(e[5])),
  })
  const every = Math.ceil(features.length / 40), crowd = Math.ceil(used.length / 40)
  set(a[`nodes${suffix}`], {
    x: [...[...features].map(() => 0), ...used.map(() => 1)],
    y: [...[...features].map((_, r) => spread(r, features.length)),
        ...used.map((_, c) => spread(c, used.length))],
    colour: [...[...features].map(() => "black"), ...used.map(colour)],
    name: [...[...features].map((i, r) => (r % every ? "" : `${i}`)),
           ...used.map((k, c) => (c % crowd && !(load.get(k) > 1) ? "" : `${names[k]}`))],
    align: [...[...features].map(() => "right"), ...used.map(() => "left")],
    dx: [...[...features].map(() => -7), ...used.map(() => 7)],
  })
}

function plane(a, suffix, frames, k) {
  const W = column(frames, "W")
  if (pair == null || W.length == 0) return
  const width = W[0].shape[1], [i, j, n] = pair
  if (i * width + n >= W[0].length || j * width + n >= W[0].length) return
  const u = W.map((w) => weight(w[i * width + n])), v = W.map((w) => weight(w[j * width + n]))
  set(a[`path${suffix}`], {u, v})
  set(a[`here${suffix}`], {u: [u[k]], v: [v[k]]})
  if (suffix == "") {
    const name = column(a.order, "names")[0][n]
    a.said_plane.text = `Features ${i} and ${j} on neuron ${name}: weights ${u[k].toFixed(2)} and ` +
      `${v[k].toFixed(2)}, ` + (u[k] * v[k] > 0 ? "the same sign (malign)." :
        u[k] * v[k] < 0 ? "opposite signs (benign)." : "one of them is zero.")
  }
}

function differences(a, W, V, {features, neurons}) {
  const x = [], y = []
  if (W.shape[1] == V.shape[1])
    features.forEach((i, r) => neurons.forEach((k, c) => {
      const at = i * W.shape[1] + k
      if (Math.sign(W[at] - ZERO) != Math.sign(V[at] - ZERO) && x.length < 500) {
        x.push(c + 0.5)
        y.push(r + 0.5)
      }
    }))
  set(a.differences, {x, y})
}

// The pair that has met and matters most at the end, or the first two features.
function usual_pair(a) {
  const W = column(a.frames, "W").at(-1), width = W.shape[1]
  for (let k = 0; k < width; k++) {
    const on = []
    for (let i = 0; i < W.shape[0]; i++) if (W[i * width + k] != ZERO) on.push(i)
    if (on.length == 2) return [on[0], on[1], k]
  }
  return W.shape[0] > 1 ? [0, 1, 0] : null
}

function met_on(a, i, j) {
  let best = 0, at = 0
  for (const W of column(a.frames, "W"))
    for (let k = 0; k < W.shape[1]; k++) {
      const size = Math.min(Math.abs(W[i * W.shape[1] + k] - ZERO), Math.abs(W[j * W.shape[1] + k] - ZERO))
      if (size > best) [best, at] = [size, k]
    }
  return [i, j, at]
}

function show(a) {
  seen = a.time.value
  if (sketch != null) return show_sketch(a)
  const t = now(a)
  const branched = column(a.frames_before, "t").length > 0
  for (const suffix of branched ? ["", "_before"] : [""]) {
    const frames = a[`frames${suffix}`], order = a[`order${suffix}`]
    if (column(frames, "t").length == 0 || column(order, "name").length == 0) return
    const k = frame_at(frames, t), by = orders(a, order), W = column(frames, "W")[k]
    picture(a[`figure_w${suffix}`], a[`w${suffix}`], arranged(W, by.features, by.neurons))
    picture(a[`figure_g${suffix}`], a[`g${suffix}`],
      arranged(column(frames, "G")[k], by.features, by.features))
    graph(a, suffix, W, by)
    plane(a, suffix, frames, k)
    if (suffix == "") {
      for (const name of ["w", "g", "graph", "count"])
        a[`said_${name}`].text = column(frames, `said_${name}`)[k]
      if (branched) differences(a, W, column(a.frames_before, "W")[frame_at(a.frames_before, t)], by)
      else set(a.differences, {x: [], y: []})
    } else a.said_w_before.text = column(frames, "said_w")[k]
  }
  const first = column(a.frames, "at")[0]
  for (const cursor of a.cursors) cursor.location = Math.max(t, first)
  a.time.title = `t = ${t.toPrecision(4)}`
  requestAnimationFrame(() => { window.explore_shown = (window.explore_shown ?? 0) + 1 })
}

// W and the counts of a run of which the rest is on its way.
function show_sketch(a) {
  const k = a.time.value >= a.time.end ? sketch.t.length - 1 : frame_at({data: sketch}, now(a))
  const by = orders(a, a.order)
  picture(a.figure_w, a.w, arranged(sketch.W[k], by.features, by.neurons))
  a.said_w.text = sketch.said_w[k]
  a.said_count.text = sketch.said_count[k]
  requestAnimationFrame(() => { window.explore_sketched = (window.explore_sketched ?? 0) + 1 })
}

// Columns of sources, by their names.
function carried(source) {
  const names = column(source, "name"), found = {}
  names.forEach((name, k) => { found[name] = column(source, "columns")[k] })
  return found
}

// One picture of codes for each frame, of the codes of all: frames, rows, columns.
function pictures(codes) {
  if (codes.length == 0) return []
  const [frames, rows, columns] = codes.shape, size = rows * columns
  return Array.from({length: frames}, (_, k) =>
    new codes.constructor(codes.buffer.slice(k * size, (k + 1) * size), [rows, columns]))
}

function said(a, words) {
  for (const [name, text] of Object.entries(words)) a[`words_${name}`].text = text
}

// What comes first: see show_sketch.
function sketched(a) {
  const {frames, order, words} = carried(a.sketched)
  if (frames == null) return
  sketch = {...frames, W: pictures(frames.W)}
  set(a.order, order)
  set(a.order_before, {name: [], features: [], neurons: [], alive: [], names: []})
  said(a, words)
  show_sketch(a)
}

// What follows it: every panel.
function followed(a) {
  const {words, frames, ...come} = carried(a.followed), first = carried(a.sketched).frames
  if (frames == null || first == null) return
  for (const [name, columns] of Object.entries(come)) {
    const whole = name == "frames_before" ? {...columns, W: pictures(columns.W), G: pictures(columns.G)} : columns
    set(a[name], whole)
  }
  set(a.frames, {...first, ...frames, W: sketch?.W ?? pictures(first.W), G: pictures(frames.G)})
  sketch = null
  said(a, words)
  loaded(a)
}

function loaded(a) {
  if (column(a.frames, "t").length == 0) return
  const before = now(a), at_end = a.time.value >= a.time.end
  times_of(a)
  a.time.end = Math.max(1, times.length - 1)
  if (at_end) a.time.value = times.length - 1
  else jump(a, before)
  const most = Math.max(4, 3 * (column(a.counting, "paper")[0] ?? 0), 1.3 * (column(a.frames, "count").at(-1) ?? 0))
  a.figure_counter.y_range.setv({end: most, reset_end: most})
  const ends = [a.frames, a.frames_before].flatMap((frames) => [column(frames, "at")[0], column(frames, "at").at(-1)])
    .filter((t) => t != null)
  span(a.figure_energies.x_range, Math.min(...ends), Math.max(...ends))
  pair = usual_pair(a)
  document.body.classList.toggle("branched", column(a.frames_before, "t").length > 0)
  show(a)
  setTimeout(() => located(a))
}

// Pointing ----------------------------------------------------------------------------------------

function pointed(a, event) {
  const name = event.origin.name, suffix = name.endsWith("_before") ? "_before" : ""
  const order = a[`order${suffix}`]
  if (column(order, "name").length == 0) return null
  const by = orders(a, order), r = Math.floor(event.y), c = Math.floor(event.x)
  const across = name.startsWith("w") ? by.neurons : by.features
  if (r < 0 || c < 0 || r >= by.features.length || c >= across.length) return null
  return {suffix, kind: name[0], by, r, c, i: by.features[r], k: across[c]}
}

function light(a, at) {
  for (const suffix of ["", "_before"]) {
    const lit_w = {left: [], right: [], top: [], bottom: []}, lit_g = {left: [], right: [], top: [], bottom: []}
    if (at != null) {
      const {by, r, c, kind} = at, n = by.features.length, m = by.neurons.length
      const bar = (into, left, right, top, bottom) => {
        into.left.push(left); into.right.push(right); into.top.push(top); into.bottom.push(bottom)
      }
      const rows = kind == "w" ? [r] : [r, c]
      for (const row of rows) {
        bar(lit_w, 0, m, row, row + 1)
        bar(lit_g, 0, n, row, row + 1)
        bar(lit_g, row, row + 1, 0, n)
      }
      if (kind == "w") bar(lit_w, c, c + 1, 0, n)
    }
    set(a[`lit_w${suffix}`], lit_w)
    set(a[`lit_g${suffix}`], lit_g)
    const edges = a[`edges${suffix}`], who = column(edges, "who")
    const named = at == null ? [] : at.kind == "w"
      ? [`feature ${at.i} `, `neuron ${at.by.names[at.k]}|`] : [`feature ${at.i} `, `feature ${at.k} `]
    edges.selected.indices = who.flatMap((text, e) =>
      named.some((word) => `${text}|`.includes(word)) ? [e] : [])
  }
  if (at == null) { a.lit.text = ""; return }
  const frames = a[`frames${at.suffix}`], k = frame_at(frames, now(a))
  const image = column(frames, at.kind == "w" ? "W" : "G")[k]
  const value = weight(image[at.i * image.shape[1] + at.k]).toFixed(3)
  a.lit.text = at.kind == "w" ? `feature ${at.i} on neuron ${at.by.names[at.k]}: W = ${value}`
    : `features ${at.i} and ${at.k}: G = ${value}`
}

function chosen(a, at) {
  if (at == null) return
  if (at.kind == "w") {
    a.feature.value = at.i
    a.neuron.value = at.by.names[at.k]
  } else if (at.i != at.k) {
    pair = met_on(a, at.i, at.k)
    show(a)
  }
}

// Out of the page ---------------------------------------------------------------------------------

function download(a) {
  const bytes = column(a.download, "bytes")[0]
  if (bytes == null || bytes.length == 0) return
  const link = document.createElement("a")
  link.href = URL.createObjectURL(new Blob([bytes], {type: "application/octet-stream"}))
  link.download = column(a.download, "name")[0]
  link.click()
  URL.revokeObjectURL(link.href)
}

function located(a) {
  const link = column(a.texts, "text")[0]
  if (link && location.protocol.startsWith("http")) history.replaceState(null, "", link)
  told(a)
}

const told = (a) => {
  a.text.value = column(a.texts, "text")[column(a.texts, "name").indexOf(a.text_kind.value)] ?? ""
}

// Which cause means what --------------------------------------------------------------------------

function act(a, cause) {
  const event = cause.event_name
  if (event == "mousemove") return light(a, pointed(a, cause))
  if (event == "mouseleave") return light(a, null)
  if (event == "tap" || event == "pan") {
    const name = cause.origin.name
    return /^[wg]/.test(name) ? chosen(a, event == "tap" ? pointed(a, cause) : null) : jump(a, cause.x)
  }
  if (event == "button_click") {
    const name = cause.origin.name
    if (name == "back") a.time.value = Math.max(0, a.time.value - 1)
    if (name == "forth") a.time.value = Math.min(a.time.end, a.time.value + 1)
    if (name == "copy") navigator.clipboard?.writeText(a.text.value)
    if (name == "branch")
      set(a.branching, {t: [now(a)], kind: [a.kind.value], value: [a.value.value ?? 0],
                        feature: [a.feature.value ?? 0], neuron: [a.neuron.value ?? 0]})
    return
  }
  switch (cause.name) {
    case "download": return download(a)
    case "text_kind": return told(a)
    case "play": return play(a)
    case "time": return a.time.value == seen ? undefined : show(a)
    default: return show(a)
  }
}

// Run when the document is ready; other callbacks call window.explore. What comes from the server is
// taken where it comes: a callback of the page would be called later, when more may have come.
export default function (a) {
  window.explore = (cause) => act(a, cause)
  a.sketched.properties.data.change.connect(() => sketched(a))
  a.followed.properties.data.change.connect(() => {
    set(a.exact, {t: [], l1: [], survivors: []})
    followed(a)
  })
  sketched(a)
  followed(a)
}
