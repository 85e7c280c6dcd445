// Returns each piece of text on the page whose contrast is below 4.5 to 1 (WCAG 2.2, level AA).
const rgba = text => { const n = text.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
const background = element => {
  if (!element) return [255, 255, 255];
  const own = rgba(getComputedStyle(element).backgroundColor);
  return own[3] === 1 ? own.slice(0, 3) : over(own, background(element.parentElement));
};
const luminance = color => color.map(c => c / 255)
  .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
// In a drawing, the background is the topmost filled shape under the middle of the text.
const shapeBelow = element => {
  element.scrollIntoView({block: 'center', inline: 'center'});
  const box = element.getBoundingClientRect();
  for (const below of document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2)) {
    if (below.closest('text')) continue;
    const fill = getComputedStyle(below).fill;
    if (below instanceof SVGGeometryElement && fill !== 'none') return rgba(fill).slice(0, 3);
    if (!(below instanceof SVGElement)) return background(below);
  }
  return background(element.closest('svg').parentElement);
};
const contrast = element => {
  const drawn = element instanceof SVGElement, style = getComputedStyle(element);
  const below = drawn ? shapeBelow(element) : background(element);
  const shades = [luminance(over(rgba(drawn ? style.fill : style.color), below)), luminance(below)];
  return (Math.max(...shades) + 0.05) / (Math.min(...shades) + 0.05);
};
const faint = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let looked = 0;
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
  if (!text || element.closest('title, script, style') || !element.checkVisibility({visibilityProperty: true})) continue;
  looked += 1;
  if (contrast(element) < 4.5) faint.push([contrast(element), text.slice(0, 40)]);
}
return [looked, faint];
