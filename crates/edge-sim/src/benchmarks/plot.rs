//! Diagram of the requests of a fleet over time, as SVG.

use std::fmt::Write;

use super::fleet::Outcome;

const WIDTH: usize = 760;
const HEIGHT: usize = 240;
const LEFT: usize = 40;
const TOP: usize = 40;

/// Returns an SVG document with a bar for each second: the requests that succeeded,
/// and above them those that were rejected.
pub(crate) fn draw(fleet: &Outcome) -> String {
    let seconds = fleet.seconds();
    let max = fleet.peak().max(1);
    let width = WIDTH / seconds.len().max(1);
    let step = width.max(1);
    let total = LEFT + step * seconds.len() + 20;
    let bottom = TOP + HEIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\">{} devices switched on at once, quota {} provisionings per second: requests per second</text>\n\
         <text x=\"{LEFT}\" y=\"34\" fill=\"#2a6fb0\">succeeded</text><text x=\"120\" y=\"34\" fill=\"#d08a1d\">rejected</text>\n",
        bottom + 40,
        fleet.devices,
        fleet.rate,
    );
    for (second, (succeeded, rejected)) in seconds.iter().enumerate() {
        let x = LEFT + second * step;
        let (low, high) = (
            succeeded * HEIGHT / max,
            (succeeded + rejected) * HEIGHT / max,
        );
        bar(&mut svg, x, bottom - low, step, low, "#2a6fb0");
        bar(&mut svg, x, bottom - high, step, high - low, "#d08a1d");
        if second % 20 == 0 {
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{}\">{second}</text>", bottom + 16);
        }
    }
    let _ = writeln!(
        svg,
        "<text x=\"4\" y=\"{}\">{max}</text><text x=\"{LEFT}\" y=\"{}\">seconds since they were switched on; cargo xtask bench fleet</text>\n</svg>",
        TOP + 10,
        bottom + 32,
    );
    svg
}

fn bar(svg: &mut String, x: usize, y: usize, width: usize, height: usize, colour: &str) {
    if height > 0 {
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\"/>"
        );
    }
}
