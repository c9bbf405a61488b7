// The viewer: NiiVue draws, this sets layers and follows the controls. Nothing is fetched.
"use strict";

const page = JSON.parse(document.getElementById("layers").textContent);
const byId = (id) => document.getElementById(id);

async function unpacked(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function load(library) {
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpacked(library));
  document.head.append(script);
  return window.niivue;
}

// A NIfTI file in memory: the header that all layers share, and the voxels.
function volume(niivue, voxels, name, colormap, opacity) {
  const header = Uint8Array.from(atob(page.header), (letter) => letter.charCodeAt(0));
  const file = new Uint8Array(header.length + voxels.length);
  file.set(header);
  file.set(voxels, header.length);
  return niivue.NVImage.new(file.buffer, `${name}.nii`, colormap, opacity, null, 0, 255);
}

function ramp(colours, alpha) {
  return {
    R: colours.map((c) => c[0]), G: colours.map((c) => c[1]), B: colours.map((c) => c[2]),
    A: colours.map((_, i) => (i === 0 ? 0 : alpha)),
    I: colours.map((_, i) => Math.round((255 * i) / (colours.length - 1))),
  };
}

async function show() {
  const library = byId("library").textContent;
  const niivue = await load(library);
  const viewer = new niivue.Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [1, 0.84, 0.37, 0.7], crosshairWidth: 0.6, dragAndDropEnabled: false,
    isRadiologicalConvention: true, sagittalNoseLeft: true, multiplanarLayout: 3, multiplanarShowRender: 0,
    multiplanarEqualSize: false, isColorbar: false, loadingText: "", textHeight: 0.04, showAllOrientationMarkers: true, isResizeCanvas: true, logLevel: "error",
  });
  await viewer.attachToCanvas(byId("canvas").firstElementChild);
  viewer.setSliceType(viewer.sliceTypeMultiplanar);
  viewer.addColormap("braincli-anomaly", ramp(page.colours, 255));
  viewer.addColormap("braincli-mask", ramp([[0, 0, 0], page.mask], 255));
  viewer.addColormap("braincli-reference", ramp([[0, 0, 0], page.reference], 255));

  const images = {};
  const drawn = {};
  for (const layer of page.layers) {
    const voxels = await unpacked(layer.voxels);
    if (layer.kind === "scan" || layer.kind === "restored") (images[layer.name] ??= {})[layer.kind] = voxels;
    else drawn[layer.kind] = voxels;
  }
  const base = await volume(niivue, images[page.base].scan.slice(), "scan", "gray", 1);
  viewer.addVolume(base);
  for (const [kind, voxels] of Object.entries(drawn)) {
    const levels = kind === "anomaly" ? voxels : voxels.map((value) => 255 * value);
    const layer = await volume(niivue, levels, kind, `braincli-${kind}`, Number(byId(kind).value) / 100);
    viewer.addVolume(layer);
    drawn[kind] = { layer, levels };
    byId(kind).addEventListener("input", (event) => {
      viewer.setOpacity(viewer.volumes.indexOf(layer), event.target.value / 100);
    });
  }

  function restoration() {
    const { scan, restored } = images[byId("contrast").value];
    const share = restored ? byId("restored").value / 100 : 0;
    if (byId("restored")) byId("restored").disabled = !restored;
    for (let i = 0; i < scan.length; i++) base.img[i] = share ? scan[i] + share * (restored[i] - scan[i]) : scan[i];
    viewer.updateGLVolume();
  }
  byId("contrast").addEventListener("input", restoration);
  byId("restored")?.addEventListener("input", restoration);
  restoration();

  if (drawn.anomaly) {
    const from = byId("from");
    const above = () => {
      const { layer, levels } = drawn.anomaly;
      const least = (255 * from.value) / page.top;
      for (let i = 0; i < levels.length; i++) layer.img[i] = levels[i] >= least ? levels[i] : 0;
      byId("from-value").textContent = Number(from.value).toPrecision(3);
      viewer.updateGLVolume();
    };
    from.addEventListener("input", above);
    above();
  }

  const go = (place) => {
    viewer.scene.crosshairPos = viewer.mm2frac(place);
    viewer.createOnLocationChange();
    viewer.drawScene();
  };
  viewer.onLocationChange = (location) => {
    const [x, y, z] = location.mm;
    byId("place").textContent = `x ${x.toFixed(0)}, y ${y.toFixed(0)}, z ${z.toFixed(0)} mm`;
  };
  for (const button of document.querySelectorAll("button.number")) {
    button.disabled = false;
    button.addEventListener("click", () => {
      go(JSON.parse(button.dataset.place));
      byId("viewer").scrollIntoView({ behavior: "smooth", block: "nearest" });
    });
  }
  go(page.place);
  document.body.dataset.viewer = "ready";
}

show().catch((error) => {
  document.body.dataset.viewer = "failed";
  byId("canvas").textContent = `The viewer needs WebGL 2, which this browser does not offer here (${error.message}). The picture below shows the slices that tell most.`;
});
