// Loss surfaces that turn together: drag, or the arrow keys. Plain canvas, no library, nothing loaded.
// view: {colours: [css, …], floor, rim, seeds: [[{about, x, y, loss, path}, …], …]}; loss null: above the rim.
function lthSurfaces(id, view) {
  const root = document.getElementById(id);
  if (!root || root.dataset.drawn) return;
  root.dataset.drawn = "yes";
  const START = { turn: -1.25, tilt: 0.62 };
  const angle = { ...START };
  const low = Math.log10(view.floor), high = Math.log10(view.rim), tallest = 1.1;
  const lift = loss => ((Math.log10(Math.min(Math.max(loss, view.floor), view.rim)) - low) / (high - low)) * tallest;
  const colour = loss => {
    const share = (Math.log10(Math.max(loss, view.floor)) - low) / (high - low);
    return view.colours[Math.round(Math.min(Math.max(share, 0), 1) * (view.colours.length - 1))];
  };
  const panels = root.querySelector(".lth-panels"), choice = root.querySelector("select");
  let scenes = [];

  function eye(x, y, z) { // position on the screen, in units of the window's half side, and depth
    const c = Math.cos(angle.turn), s = Math.sin(angle.turn), a = x * c - y * s, b = x * s + y * c;
    const up = Math.cos(angle.tilt), down = Math.sin(angle.tilt);
    return [a, b * down + (z - tallest / 2) * up, b * up - (z - tallest / 2) * down];
  }

  function draw({ canvas, scene }) {
    const ratio = window.devicePixelRatio || 1, wide = canvas.clientWidth, tall = canvas.clientHeight;
    if (!wide) return; // folded away: drawn when it is opened
    canvas.width = wide * ratio;
    canvas.height = tall * ratio;
    const g = canvas.getContext("2d"), size = Math.min(wide / 2.9, tall / 2.1);
    g.scale(ratio, ratio);
    const put = ([a, b]) => [wide / 2 + a * size, tall / 2 - b * size];
    const at = (x, y, z) => put(eye(x, y, z));
    g.lineJoin = "round";
    g.font = "11px sans-serif";
    frame(g, at);
    const nx = scene.x.length, ny = scene.y.length, faces = [];
    const points = scene.loss.map((line, j) => line.map((v, i) => v === null ? null : eye(scene.x[i], scene.y[j], lift(v))));
    for (let j = 0; j + 1 < ny; j++)
      for (let i = 0; i + 1 < nx; i++) {
        const corners = [points[j][i], points[j][i + 1], points[j + 1][i + 1], points[j + 1][i]];
        if (corners.includes(null)) continue;
        const mean = (scene.loss[j][i] + scene.loss[j][i + 1] + scene.loss[j + 1][i + 1] + scene.loss[j + 1][i]) / 4;
        faces.push([corners[0][2] + corners[2][2], corners, colour(mean)]);
      }
    faces.sort((one, other) => other[0] - one[0]);
    g.lineWidth = 0.6;
    for (const [, corners, fill] of faces) {
      g.beginPath();
      corners.map(put).forEach(([a, b], k) => k ? g.lineTo(a, b) : g.moveTo(a, b));
      g.closePath();
      g.fillStyle = g.strokeStyle = fill;
      g.fill();
      g.stroke();
    }
    path(g, at, scene.path);
  }

  function frame(g, at) { // the window's edge on the floor, and an upright with the loss
    g.strokeStyle = "#999";
    g.fillStyle = "#444";
    g.lineWidth = 1;
    g.beginPath();
    [[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]].forEach(([x, y], k) => k ? g.lineTo(...at(x, y, 0)) : g.moveTo(...at(x, y, 0)));
    g.stroke();
    const words = (text, x, y, z) => { const [a, b] = at(x, y, z); g.textAlign = "center"; g.fillText(text, a, b + 4); };
    words("PC 1", 0, -1.18, 0);
    words("PC 2", 1.2, 0, 0);
    const corner = [[-1, -1], [1, -1], [1, 1], [-1, 1]].reduce((a, b) => at(...a, 0)[0] < at(...b, 0)[0] ? a : b);
    g.beginPath();
    g.moveTo(...at(...corner, 0));
    g.lineTo(...at(...corner, tallest));
    g.stroke();
    g.textAlign = "right";
    for (let power = Math.ceil(low); power <= Math.floor(high); power++) {
      const [a, b] = at(...corner, lift(10 ** power));
      g.fillText(`${10 ** power} –`, a + 3, b + 4);
    }
  }

  function path(g, at, { x, y, loss }) {
    const spots = x.map((v, k) => at(v, y[k], lift(loss[k]) + 0.03));
    g.lineWidth = 3.5;
    for (const ink of ["rgba(255,255,255,.7)", "#f4801f"]) {
      g.strokeStyle = ink;
      g.beginPath();
      spots.forEach((spot, k) => k ? g.lineTo(...spot) : g.moveTo(...spot));
      g.stroke();
      g.lineWidth = 2;
    }
    spots.forEach((spot, k) => {
      const [radius, ink] = k === 0 ? [5, "#fff"] : k === spots.length - 1 ? [5, "#8a3b00"] : [2, "#f4801f"];
      g.beginPath();
      g.arc(...spot, radius, 0, 7);
      g.fillStyle = ink;
      g.fill();
      g.lineWidth = 1.5;
      g.strokeStyle = "#8a3b00";
      if (radius > 2) g.stroke();
    });
  }

  const drawAll = () => scenes.forEach(draw);

  function turn(by, tilted) {
    angle.turn += by;
    angle.tilt = Math.min(Math.max(angle.tilt + tilted, 0.05), 1.55);
    requestAnimationFrame(drawAll);
  }

  const KEYS = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.08], ArrowDown: [0, -0.08] };

  function show(seed) {
    panels.replaceChildren();
    scenes = view.seeds[seed].map(scene => {
      const { panel, setting, lr, accuracy } = scene.about, figure = document.createElement("figure");
      const canvas = document.createElement("canvas"), caption = document.createElement("figcaption");
      caption.textContent = `(${panel}) ${setting.slice(3)}, learning rate ${lr}, accuracy ${accuracy.toFixed(1)} %`;
      canvas.tabIndex = 0;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Loss surface with trajectory: ${caption.textContent}. The arrow keys turn it.`);
      canvas.addEventListener("keydown", event => {
        if (KEYS[event.key]) turn(...KEYS[event.key]);
        else if (event.key === "Home") { Object.assign(angle, START); drawAll(); }
        else return;
        event.preventDefault();
        event.stopPropagation(); // JupyterLab moves between cells with the same keys
      });
      canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); canvas.focus(); });
      canvas.addEventListener("pointermove", event => {
        if (event.buttons) turn(event.movementX / 120, event.movementY / 160);
      });
      figure.append(canvas, caption);
      panels.append(figure);
      return { canvas, scene };
    });
    drawAll();
  }

  view.seeds.forEach((scenesOfSeed, k) => choice.add(new Option(`seed ${scenesOfSeed[0].about.seed}`, k)));
  choice.addEventListener("change", () => show(choice.value));
  new ResizeObserver(drawAll).observe(panels);
  show(0);
}
