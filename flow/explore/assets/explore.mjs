// What moves with time on the page, in the browser: no request is made while one scrubs.
// One function serves every cause; `a` holds the models of the page by name.

const ZERO = 128, REACH = 1.25, MOST_EDGES = 500, TICK = 60, LINES = 34, SHARING = 40, MOST_DIFFERENCES = 300
const BLUE = "#0b3c7d", ORANGE = "#d07a00", GREY = "#a0a0a0"

// `held` is the weight that is chosen, `lit` what is lit: features, and a neuron by its column.
let times = [0], playing = null, pair = null, held = null, lit = null, sketch = null, seen = null

const weight = (code) => {
  const q = Math.max(Math.abs(code - ZERO), 1)
  return Math.sign(code - ZERO) * REACH * ((q - 1) / 126) ** 2
}
const WEIGHTS = Float64Array.from({length: 256}, (_, code) => weight(code))
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
  if (figure.x_range.reset_end != width || figure.y_range.reset_start != height) {
    figure.x_range.setv({start: 0, end: width, reset_start: 0, reset_end: width})
    figure.y_range.setv({start: height, end: 0, reset_start: height, reset_end: 0})
  }
}

function graph(a, suffix, W, {features, neurons, names}) {
  const width = W.shape[1], found = [], spread = (k, n) => (n < 2 ? 0.5 : k / (n - 1))
  const used = [...neurons].filter((k) => {
    for (let i = 0; i < W.shape[0]; i++) if (Math.abs(W[i * width + k] - ZERO) > SHARING) return true
    return false
  })
  features.forEach((i, r) => used.forEach((k, c) => {
    const code = W[i * width + k]
    if (code != ZERO) found.push([Math.abs(code - ZERO), i, k, r, c, code])
  }))
  found.sort((x, y) => y[0] - x[0])
  const load = new Map(), kept = found.slice(0, MOST_EDGES)
  for (const [size, , k] of kept) if (size > SHARING) load.set(k, (load.get(k) ?? 0) + 1)
  const colour = (k) => (load.get(k) > 1 ? ORANGE : load.get(k) ? BLUE : GREY)
  set(a[`edges${suffix}`], {
    x0: kept.map(() => 0), x1: kept.map(() => 1),
    y0: kept.map((e) => spread(e[3], features.length)),
    y1: kept.map((e) => spread(e[4], used.length)),
    width: kept.map((e) => 0.3 + 2.5 * (e[0] / 127) ** 2),
    colour: kept.map((e) => colour(e[2])),
    dash: kept.map((e) => (e[5] < ZERO ? [5, 3] : [])),
    feature: kept.map((e) => e[1]), neuron: kept.map((e) => names[e[2]]),
    w: kept.map((e) => weight(e[5])),
  })
  const left = [...features], heights = {
    left: left.map((_, r) => spread(r, left.length)), right: used.map((_, c) => spread(c, used.length))}
  const rows = readable(heights.left, left.map(() => 0)), columns = readable(heights.right, used.map((k) => load.get(k) ?? 0))
  set(a[`nodes${suffix}`], {
    x: [...left.map(() => 0), ...used.map(() => 1)], y: [...heights.left, ...heights.right],
    colour: [...left.map(() => "black"), ...used.map(colour)],
    name: [...left.map((i, r) => (rows[r] ? `${i}` : "")), ...used.map((k, c) => (columns[c] ? `${names[k]}` : ""))],
    align: [...left.map(() => "right"), ...used.map(() => "left")],
    dx: [...left.map(() => -7), ...used.map(() => 7)],
    id: [...left, ...used.map((k) => names[k])],
  })
}

// Which numbers are written beside nodes at these heights so that none covers another: the weightier first.
function readable(heights, weights) {
  const room = 1 / LINES, taken = [], written = heights.map(() => false)
  for (const k of heights.map((_, k) => k).sort((x, y) => weights[y] - weights[x] || x - y))
    if (taken.every((y) => Math.abs(y - heights[k]) >= room)) { taken.push(heights[k]); written[k] = true }
  return written
}

// Weights of a pair on a neuron, along a run.
function path_of(frames, [i, j, n]) {
  const W = column(frames, "W")
  if (W.length == 0) return null
  const width = W[0].shape[1]
  if (n >= width || i * width + n >= W[0].length || j * width + n >= W[0].length) return null
  return {u: Array.from(W, (w) => WEIGHTS[w[i * width + n]]), v: Array.from(W, (w) => WEIGHTS[w[j * width + n]])}
}

function plane(a, suffix, frames, k) {
  const path = pair == null ? null : path_of(frames, pair)
  set(a[`path${suffix}`], path ?? {u: [], v: []})
  set(a[`here${suffix}`], path == null ? {u: [], v: []} : {u: [path.u[k]], v: [path.v[k]]})
  if (path == null || suffix != "") return
  const [i, j, n] = pair, name = column(a.order, "names")[0][n], u = path.u[k], v = path.v[k]
  a.said_plane.text = `Features ${i} and ${j} on neuron ${name}: weights ${u.toFixed(2)} and ` +
    `${v.toFixed(2)}, ` + (u * v > 0 ? "the same sign (malign)." :
      u * v < 0 ? "opposite signs (benign)." : "one of them is zero.") +
    " Click a weight, an overlap or a collision to choose two others."
}

function differences(a, W, V, {features, neurons}) {
  const found = [], width = W.shape[1], theirs = V.shape[1], rows = Math.min(W.shape[0], V.shape[0])
  const names = column(a.order, "names")[0], others = column(a.order_before, "names")[0]
  features.forEach((i, r) => neurons.forEach((k, c) => {
    if (i >= rows || k >= theirs || names[k] != others[k]) return
    const ours = W[i * width + k], other = V[i * theirs + k]
    if (Math.sign(ours - ZERO) != Math.sign(other - ZERO))
      found.push([Math.abs(WEIGHTS[ours] - WEIGHTS[other]), c + 0.5, r + 0.5])
  }))
  const most = found.sort((x, y) => y[0] - x[0]).slice(0, MOST_DIFFERENCES)
  set(a.differences, {x: most.map((d) => d[1]), y: most.map((d) => d[2])})
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

function met_on(frames, i, j) {
  let best = 0, at = 0
  for (const W of column(frames, "W"))
    for (let k = 0; k < W.shape[1]; k++) {
      const size = Math.min(Math.abs(W[i * W.shape[1] + k] - ZERO), Math.abs(W[j * W.shape[1] + k] - ZERO))
      if (size > best) [best, at] = [size, k]
    }
  return [i, j, at]
}

// Whether there is a run, and not only its sketch.
const whole = (a) => sketch == null && column(a.frames, "t").length > 0

function show(a) {
  seen = a.time.value
  if (sketch != null) return show_sketch(a)
  if (!whole(a)) return
  const t = now(a)
  const branched = column(a.frames_before, "t").length > 0
  for (const suffix of branched ? ["", "_before"] : [""]) {
    const frames = a[`frames${suffix}`], order = a[`order${suffix}`]
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
    } else
      for (const name of ["w", "g", "graph"]) a[`said_${name}_before`].text = column(frames, `said_${name}`)[k]
  }
  const first = column(a.frames, "at")[0]
  for (const cursor of a.cursors) cursor.location = Math.max(t, first)
  a.time.title = `t = ${t.toPrecision(4)}`
  light(a, lit)
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
  set(a.lit_w, {left: [], right: [], top: [], bottom: []})
  set(a.differences, {x: [], y: []})
  said(a, words)
  show_sketch(a)
}

// What follows it: every panel.
function followed(a) {
  const {words, frames, ...come} = carried(a.followed), first = carried(a.sketched).frames
  if (frames == null || first == null) return
  for (const [name, columns] of Object.entries(come)) {
    const codes = name == "frames_before" ? {W: pictures(columns.W), G: pictures(columns.G)} : {}
    set(a[name], {...columns, ...codes})
  }
  set(a.frames, {...first, ...frames, W: sketch?.W ?? pictures(first.W), G: pictures(frames.G)})
  sketch = null
  said(a, words)
  loaded(a)
}

function loaded(a) {
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
  hold(a, typed(a))
  lanes(a)
  document.body.classList.toggle("branched", column(a.frames_before, "t").length > 0)
  show(a)
  setTimeout(() => located(a))
}

// Bars take the upper half of their panel, single marks and collisions the lanes below them.
function lanes(a) {
  const most = (name) => Math.max(1, ...Array.from(column(a.rates, name), Math.abs))
  const up = most("up") * 1.1, down = most("down") * 1.1, start = up - (up + down) / 0.5
  a.figure_events.y_range.setv({start, end: up, reset_start: start, reset_end: up})
  a.figure_events.left[0].bounds = [-down, up]
}

// Pointing ----------------------------------------------------------------------------------------

// What is under the pointer: features, a neuron by its column, the future in which it is.
function pointed(a, event) {
  const name = event.origin.name, suffix = name.endsWith("_before") ? "_before" : ""
  if (!whole(a)) return null
  if (name == "events") return marked(a)
  const by = orders(a, a[`order${suffix}`])
  if (name.startsWith("graph")) return noded(a, event, suffix, by)
  const r = Math.floor(event.y), c = Math.floor(event.x)
  const across = name.startsWith("w") ? by.neurons : by.features
  if (r < 0 || c < 0 || r >= by.features.length || c >= across.length) return null
  const i = by.features[r], k = across[c]
  return name.startsWith("w") ? {suffix, features: [i], neuron: k}
    : {suffix, features: i == k ? [i] : [i, k], neuron: null}
}

// The nearest node of the graph on the side of the pointer.
function noded(a, event, suffix, by) {
  const nodes = a[`nodes${suffix}`], x = column(nodes, "x"), y = column(nodes, "y")
  let best = -1
  for (let k = 0; k < x.length; k++)
    if (x[k] == Math.round(event.x) && (best < 0 || Math.abs(y[k] - event.y) < Math.abs(y[best] - event.y))) best = k
  if (best < 0) return null
  const id = column(nodes, "id")[best]
  return x[best] == 0 ? {suffix, features: [id], neuron: null} : {suffix, features: [], neuron: by.names.indexOf(id)}
}

// The mark of an event that the pointer is on.
function marked(a) {
  const met = a.meetings.inspected.indices[0], single = a.moments.inspected.indices[0]
  const names = column(a.order, "names")[0], at = (source, name, k) => column(source, name)[k]
  const shown = (k) => { const c = names.indexOf(k); return c < 0 ? null : c }
  if (met != null)
    return {suffix: "", features: [at(a.meetings, "first", met), at(a.meetings, "second", met)],
            neuron: shown(at(a.meetings, "neuron", met))}
  if (single != null)
    return {suffix: "", features: [at(a.moments, "feature", single)], neuron: shown(at(a.moments, "neuron", single))}
  return null
}

const same = (x, y) => JSON.stringify(x) == JSON.stringify(y)

function point(a, at) {
  if (whole(a) && !same(at ?? held, lit)) light(a, at ?? held)
}

// Light features and a neuron up in every panel; null: nothing.
function light(a, at) {
  lit = at
  const features = at?.features ?? [], name = at?.neuron == null ? null : column(a[`order${at.suffix}`], "names")[0][at.neuron]
  const concerned = (feature, neuron) => features.includes(feature) || neuron === name
  for (const suffix of ["", "_before"]) {
    lit_images(a, suffix, features, name)
    const edges = a[`edges${suffix}`], nodes = a[`nodes${suffix}`], side = column(nodes, "x")
    select(edges, at, (k) => concerned(column(edges, "feature")[k], column(edges, "neuron")[k]))
    select(nodes, at, (k) => side[k] == 0 ? features.includes(column(nodes, "id")[k]) : column(nodes, "id")[k] === name)
  }
  const met = (k) => concerned(column(a.meetings, "first")[k], column(a.meetings, "neuron")[k]) ||
    features.includes(column(a.meetings, "second")[k])
  const times = select(a.meetings, at, met)
  select(a.moments, at, (k) => concerned(column(a.moments, "feature")[k], column(a.moments, "neuron")[k]))
  set(a.lit_times, {left: times.map((k) => column(a.meetings, "began")[k]),
                    right: times.map((k) => column(a.meetings, "until")[k])})
  set(a.lit_norms, at == null ? {t: [], l1: [], survivors: []} : norms_of(a[`frames${at.suffix}`], at))
  const pair = at == null ? null : rivals(a, at)
  set(a.lit_path, (pair && path_of(a[`frames${at.suffix}`], pair)) ?? {u: [], v: []})
  a.lit.text = at == null ? "" : said_of(a, at, name)
}

// Rows of a source that are told apart from the others, which fade.
function select(source, at, which) {
  const rows = []
  if (at != null) for (let k = 0; k < source.get_length(); k++) if (which(k)) rows.push(k)
  if (!same(source.selected.indices, rows)) source.selected.indices = rows
  return rows
}

function lit_images(a, suffix, features, name) {
  const lit_w = {left: [], right: [], top: [], bottom: []}, lit_g = {left: [], right: [], top: [], bottom: []}
  const order = a[`order${suffix}`]
  const bar = (into, left, right, top, bottom) => {
    into.left.push(left); into.right.push(right); into.top.push(top); into.bottom.push(bottom)
  }
  if (column(order, "name").length > 0 && (features.length > 0 || name != null)) {
    const by = orders(a, order), n = by.features.length, m = by.neurons.length
    for (const row of features.map((i) => by.features.indexOf(i)).filter((row) => row >= 0)) {
      bar(lit_w, 0, m, row, row + 1)
      bar(lit_g, 0, n, row, row + 1)
      bar(lit_g, row, row + 1, 0, n)
    }
    const c = name == null ? -1 : by.neurons.indexOf(by.names.indexOf(name))
    if (c >= 0) bar(lit_w, c, c + 1, 0, n)
  }
  set(a[`lit_w${suffix}`], lit_w)
  set(a[`lit_g${suffix}`], lit_g)
}

// Sum of sizes and number of non-zeros of the first feature that is lit, or else of the neuron.
function norms_of(frames, {features: [i], neuron}) {
  const l1 = [], survivors = []
  for (const W of column(frames, "W")) {
    const [n, width] = W.shape
    let sum = 0, count = 0
    const add = (code) => { if (code != ZERO) { sum += Math.abs(WEIGHTS[code]); count++ } }
    if (i != null) for (let k = 0; k < width; k++) add(W[i * width + k])
    else for (let r = 0; r < n; r++) add(W[r * width + neuron])
    l1.push(sum > 0 ? sum : NaN)
    survivors.push(count > 0 ? count : NaN)
  }
  return {t: column(frames, "at"), l1, survivors}
}

// Two features and a neuron for the phase plane: the pair that is lit, or the feature and the largest other there.
function rivals(a, {features: [i, j], neuron, suffix}) {
  const frames = a[`frames${suffix}`]
  if (i != null && j != null) return neuron == null ? met_on(frames, i, j) : [i, j, neuron]
  if (neuron == null) return null
  const W = column(frames, "W")[frame_at(frames, now(a))], [n, width] = W.shape
  const size = (r) => Math.abs(W[r * width + neuron] - ZERO)
  const others = Array.from({length: n}, (_, r) => r).filter((r) => r != i).sort((x, y) => size(y) - size(x))
  return i != null ? (others.length ? [i, others[0], neuron] : null) : n < 2 ? null : [others[0], others[1], neuron]
}

function said_of(a, {features: [i, j], neuron, suffix}, name) {
  const frames = a[`frames${suffix}`], k = frame_at(frames, now(a))
  const W = column(frames, "W")[k], G = column(frames, "G")[k], n = G.shape[0]
  if (i == null) {
    const on = Array.from({length: n}, (_, r) => r).filter((r) => W[r * W.shape[1] + neuron] != ZERO)
    return `Neuron ${name}: ${on.length == 0 ? "no feature" : on.length > 8 ? `${on.length} features` : `features ${on.join(", ")}`}.`
  }
  if (j != null) {
    const g = WEIGHTS[G[i * n + j]]
    return `Features ${i} and ${j}: G = ${g.toFixed(3)}, ` +
      (g > 0 ? "they push each other." : g < 0 ? "no push: the ReLU clips it." : "they do not overlap.")
  }
  const pushing = Array.from({length: n}, (_, r) => r).filter((r) => r != i && G[i * n + r] > ZERO)
    .sort((x, y) => G[i * n + y] - G[i * n + x])
  const hardest = pushing.slice(0, 3).map((r) => `${r} (G = ${WEIGHTS[G[i * n + r]].toFixed(2)})`).join(", ")
  return (neuron == null ? `Feature ${i}` : `Feature ${i} on neuron ${name}: W = ${WEIGHTS[W[i * W.shape[1] + neuron]].toFixed(3)}`) +
    (pushing.length == 0 ? "; nobody pushes it." : `; ${pushing.length} push it, hardest ${hardest}.`)
}

// A click: its weight is the one to change, its pair the one of the phase plane; a second click lets it go.
function chosen(a, at) {
  if (at == null) return
  const kept = same(at, held) ? null : at, {feature, neuron} = written(a, kept)
  a.feature.value = feature
  a.neuron.value = neuron
  hold(a, kept)
  show(a)
}

// The numbers that stand in the controls for what is held.
function written(a, at) {
  return {feature: at?.features.length == 1 ? at.features[0] : null,
          neuron: at?.neuron == null ? null : column(a[`order${at.suffix}`], "names")[0][at.neuron]}
}

function hold(a, at) {
  held = lit = at
  pair = (at && rivals(a, at)) ?? pair
}

// The feature and the neuron that are typed.
function typed(a) {
  const {value: i} = a.feature, {value: name} = a.neuron
  const neuron = name == null ? -1 : column(a.order, "names")[0].indexOf(name)
  const features = i != null && i < column(a.frames, "W")[0].shape[0] ? [i] : []
  return features.length == 0 && neuron < 0 ? null : {suffix: "", features, neuron: neuron < 0 ? null : neuron}
}

// Out of the page ---------------------------------------------------------------------------------

function deliver(blob, name) {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  URL.revokeObjectURL(link.href)
}

function download(a) {
  const bytes = column(a.download, "bytes")[0]
  if (bytes == null || bytes.length == 0) return
  deliver(new Blob([bytes], {type: "application/octet-stream"}), column(a.download, "name")[0])
}

// A panel, painted once more as vectors; pixels of images keep their edges.
async function save_svg(figure) {
  const blob = await Bokeh.index.find_one(figure).export("svg").to_blob()
  const text = (await blob.text()).replaceAll("<image ", '<image style="image-rendering: pixelated" ')
  deliver(new Blob([text], {type: "image/svg+xml"}), `${figure.name}.svg`)
}

function located(a) {
  const link = column(a.texts, "text")[0]
  if (link && location.protocol.startsWith("http")) history.replaceState(null, "", link)
  for (const stop of document.querySelectorAll(".tour a"))
    stop.toggleAttribute("aria-current", stop.getAttribute("href") == link)
  told(a)
}

const told = (a) => {
  a.text.value = column(a.texts, "text")[column(a.texts, "name").indexOf(a.text_kind.value)] ?? ""
}

// Which cause means what --------------------------------------------------------------------------

function act(a, cause) {
  const event = cause.event_name
  if (event == "mousemove") return point(a, pointed(a, cause))
  if (event == "mouseleave") return point(a, null)
  if (event == "tap" || event == "pan") {
    const over_time = !/^[wg]/.test(cause.origin.name), pointable = !over_time || cause.origin.name == "events"
    const at = event == "tap" && pointable ? pointed(a, cause) : null
    return at == null && over_time ? jump(a, cause.x) : chosen(a, at)
  }
  if (cause.name?.startsWith("svg ")) return save_svg(a[`figure_${cause.name.slice(4)}`])
  if (event == "button_click") {
    const name = cause.origin.name
    if (name == "back") a.time.value = Math.max(0, a.time.value - 1)
    if (name == "forth") a.time.value = Math.min(a.time.end, a.time.value + 1)
    if (name == "copy") navigator.clipboard?.writeText(a.text.value)
    if (name == "branch")
      set(a.branching, {t: [now(a)], kind: [a.kind.value], value: [a.value.value],
                        feature: [a.feature.value], neuron: [a.neuron.value]})
    return
  }
  switch (cause.name) {
    case "download": return download(a)
    case "text_kind": return told(a)
    case "feature": case "neuron":
      // Called, too, for a click, and after it.
      if (!whole(a) || same({feature: a.feature.value, neuron: a.neuron.value}, written(a, held))) return
      hold(a, typed(a))
      return show(a)
    case "kind": return numbered(a)
    case "play": return play(a)
    case "time": return a.time.value == seen ? undefined : show(a)
    default: return show(a)
  }
}

// What the number beside a change is, if it needs one.
function numbered(a) {
  const needed = a.numbers.get?.(a.kind.value) ?? a.numbers[a.kind.value] ?? ""
  a.value.setv({title: needed || "value", disabled: needed == ""})
}

// Space plays, arrows step, Home and End go to the ends, wherever no control takes the key itself.
function pressed(a, event) {
  const at = event.composedPath()[0]
  const taken = at.matches?.("input, textarea, select, [role=slider], [contenteditable]")
  if (taken || event.ctrlKey || event.metaKey || event.altKey) return
  const {value, end} = a.time
  const to = {ArrowLeft: value - 1, ArrowRight: value + 1, Home: 0, End: end}[event.key]
  if (to != null) a.time.value = Math.min(Math.max(to, 0), end)
  else if (event.key == " " && !at.matches?.("button, a, summary")) a.play.active = !a.play.active
  else return
  event.preventDefault()
}

// Run when the document is ready; other callbacks call window.explore. What comes from the server is
// taken where it comes: a callback of the page would be called later, when more may have come.
export default function (a) {
  window.explore = (cause) => act(a, cause)
  document.addEventListener("keydown", (event) => pressed(a, event))
  a.sketched.properties.data.change.connect(() => sketched(a))
  a.followed.properties.data.change.connect(() => {
    set(a.exact, {t: [], l1: [], survivors: []})
    followed(a)
  })
  sketched(a)
  followed(a)
}
