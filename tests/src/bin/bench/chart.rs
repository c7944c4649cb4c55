//! The distribution of latencies, drawn as SVG: for each rival, which share of its calls had ended
//! after how many milliseconds. The scale of the time is logarithmic, and the same in all panels.

use std::fmt::Write;

use crate::report::Case;
use crate::site::Rival;

const WIDTH: f64 = 1080.0;
const PANEL_HEIGHT: f64 = 250.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = 56.0;
/// Between two columns, and between two rows.
const GAP: (f64, f64) = (56.0, 62.0);
/// A curve has so many points at most.
const POINTS: usize = 200;
/// The shares that have a line and a label.
const SHARES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 0.95];

/// A curve: latencies in rising order.
struct Curve<'a> {
    rival: Rival,
    is_dashed: bool,
    latencies: &'a [f64],
}

/// A panel: its title and its curves.
struct Panel<'a> {
    title: String,
    curves: Vec<Curve<'a>>,
}

/// Every rival on an empty host: ADD on the left, DEL on the right, a row for each number of workers.
pub fn of_rivals(cases: &[Case], machine: &str) -> String {
    let panels = panels(cases, |case| case.pods == 0);
    draw("How long ADD and DEL take on an empty host", machine, &panels)
}

/// The same rivals on an empty host and on a full one (dashed), where both were measured.
pub fn of_crowds(cases: &[Case], machine: &str) -> String {
    let is_in_both =
        |case: &Case| cases.iter().any(|other| other.rival == case.rival && other.pods > 0);
    let panels = panels(cases, is_in_both);
    let pods = cases.iter().map(|case| case.pods).max().unwrap_or(0);
    let title =
        format!("How long ADD and DEL take on an empty host, and among {pods} pods (dashed)");
    draw(&title, machine, &panels)
}

fn panels<'a>(cases: &'a [Case], is_shown: impl Fn(&Case) -> bool) -> Vec<Panel<'a>> {
    let mut workers: Vec<usize> = cases.iter().map(|case| case.workers).collect();
    workers.sort_unstable();
    workers.dedup();
    let mut panels = Vec::new();
    for workers in workers {
        for verb in ["ADD", "DEL"] {
            let of_panel = |case: &&Case| case.workers == workers && case.verb == verb;
            let shown = cases.iter().filter(of_panel).filter(|case| is_shown(case));
            let curve = |case: &'a Case| Curve {
                rival: case.rival,
                is_dashed: case.pods > 0,
                latencies: &case.latencies_ms,
            };
            let plural = if workers == 1 { "" } else { "s" };
            let title = format!("{verb}, {workers} worker{plural}");
            panels.push(Panel { title, curves: shown.map(curve).collect() });
        }
    }
    panels
}

fn draw(title: &str, machine: &str, panels: &[Panel<'_>]) -> String {
    let rows = panels.len().div_ceil(2);
    let height = TOP + BOTTOM + rows as f64 * (PANEL_HEIGHT + GAP.1) - GAP.1;
    let width = (WIDTH - LEFT - RIGHT - GAP.0) / 2.0;
    let curves = || panels.iter().flat_map(|panel| &panel.curves);
    let smallest = curves().filter_map(|curve| curve.latencies.first()).copied();
    let largest = curves().filter_map(|curve| curve.latencies.last()).copied();
    let scale = Scale::over(smallest.fold(f64::MAX, f64::min), largest.fold(0.0, f64::max), width);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    text(&mut svg, (LEFT, 30.0), "start", "font-size=\"18\" font-weight=\"bold\"", title);
    text(&mut svg, (LEFT, 50.0), "start", "font-size=\"11\" fill=\"#666\"", machine);
    let shown = Rival::ALL.into_iter().filter(|rival| curves().any(|it| it.rival == *rival));
    let step = (WIDTH - LEFT) / Rival::ALL.len() as f64;
    for (number, rival) in shown.enumerate() {
        let (at, colour) = (LEFT + step * number as f64, colour(rival));
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.0} 70h22\" stroke=\"{colour}\" stroke-width=\"3\" fill=\"none\"/>"
        );
        text(&mut svg, (at + 28.0, 74.0), "start", "font-size=\"12\"", rival.name());
    }
    for (number, panel) in panels.iter().enumerate() {
        let x = LEFT + (number % 2) as f64 * (width + GAP.0);
        let y = TOP + (number / 2) as f64 * (PANEL_HEIGHT + GAP.1);
        let is_last_row = number / 2 + 1 == rows;
        panel.draw(&mut svg, (x, y), width, &scale, is_last_row);
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel<'_> {
    fn draw(&self, svg: &mut String, (x, y): (f64, f64), width: f64, scale: &Scale, is_last: bool) {
        let bottom = y + PANEL_HEIGHT;
        let up = |share: f64| bottom - share * (PANEL_HEIGHT - 24.0);
        text(svg, (x, y + 10.0), "start", "font-weight=\"bold\"", &self.title);
        for share in SHARES {
            let (line, label) = (up(share), format!("{:.0} %", share * 100.0));
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {line:.1}h{width:.1}\" stroke=\"#ddd\" fill=\"none\"/>"
            );
            text(svg, (x - 6.0, line + 4.0), "end", "font-size=\"11\" fill=\"#666\"", &label);
        }
        for tick in scale.ticks() {
            let at = x + scale.at(tick);
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {:.1}V{bottom:.1}\" stroke=\"#eee\" fill=\"none\"/>",
                up(1.0)
            );
            text(
                svg,
                (at, bottom + 16.0),
                "middle",
                "font-size=\"11\" fill=\"#666\"",
                &label(tick),
            );
        }
        if is_last {
            let middle = (x + width / 2.0, bottom + 36.0);
            text(svg, middle, "middle", "font-size=\"11\" fill=\"#666\"", "milliseconds a call");
        }
        for curve in &self.curves {
            let dash = if curve.is_dashed { " stroke-dasharray=\"5 4\"" } else { "" };
            let _ = writeln!(
                svg,
                "<path d=\"{}\" stroke=\"{}\" stroke-width=\"2\"{dash} fill=\"none\" \
                 stroke-linejoin=\"round\"/>",
                path(curve.latencies, |ms| x + scale.at(ms), up),
                colour(curve.rival)
            );
        }
    }
}

/// From nothing to all of the calls: the share of those that had ended by then.
fn path(latencies: &[f64], across: impl Fn(f64) -> f64, up: impl Fn(f64) -> f64) -> String {
    let count = latencies.len();
    let Some(first) = latencies.first() else { return "M0 0".to_owned() };
    let mut path = format!("M{:.1} {:.1}", across(*first), up(0.0));
    let points = count.min(POINTS);
    for point in 1..=points {
        // The first of the calls that make up this share is where the curve gets there.
        let rank = point * count / points;
        if let Some(latency) = latencies.get(rank.saturating_sub(1)) {
            let share = rank as f64 / count as f64;
            let _ = write!(path, "L{:.1} {:.1}", across(*latency), up(share));
        }
    }
    path
}

/// A logarithmic scale.
struct Scale {
    from: f64,
    to: f64,
    width: f64,
}

impl Scale {
    /// From a round number below to a round number above.
    fn over(smallest: f64, largest: f64, width: f64) -> Scale {
        let (smallest, largest) = (smallest.clamp(1e-3, 1e6), largest.clamp(1e-3, 1e6));
        let from = all_ticks().filter(|tick| *tick <= smallest).last().unwrap_or(1e-3);
        let to = all_ticks().find(|tick| *tick >= largest && *tick > from).unwrap_or(1e6);
        Scale { from, to, width }
    }

    fn at(&self, ms: f64) -> f64 {
        (ms / self.from).ln() / (self.to / self.from).ln() * self.width
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        all_ticks().filter(|tick| (self.from..=self.to).contains(tick))
    }
}

/// 1, 2, 5, 10, and so on, in milliseconds.
fn all_ticks() -> impl Iterator<Item = f64> {
    (-3..=6).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
}

fn label(tick: f64) -> String {
    if tick < 1.0 { format!("{tick:.2}") } else { format!("{tick:.0}") }
}

/// Told apart by those who don't see all colours as well (Okabe and Ito).
fn colour(rival: Rival) -> &'static str {
    match rival {
        Rival::Floor => "#999999",
        Rival::Local => "#009e73",
        Rival::Etcd => "#0072b2",
        Rival::EtcdTls => "#56b4e9",
        Rival::Ptp => "#d55e00",
        Rival::Bridge => "#e69f00",
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, style: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{content}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_round_numbers_around_all_values() {
        let scale = Scale::over(2.6, 143.0, 100.0);
        assert_eq!((scale.from, scale.to), (2.0, 200.0));
        assert!((scale.at(20.0) - 50.0).abs() < 1e-9);
        assert_eq!(
            scale.ticks().map(label).collect::<Vec<_>>(),
            ["2", "5", "10", "20", "50", "100", "200"]
        );
        // One value only, or none: still a scale.
        let one = Scale::over(5.0, 5.0, 100.0);
        assert!(one.from < one.to, "{} {}", one.from, one.to);
        let none = Scale::over(f64::MAX, 0.0, 100.0);
        assert!(none.at(1.0).is_finite());
    }

    #[test]
    fn a_curve_rises_to_all_of_the_calls() {
        let across = |ms| ms;
        let up = |share: f64| share * 100.0;
        assert_eq!(
            path(&[1.0, 2.0, 3.0, 4.0], across, up),
            "M1.0 0.0L1.0 25.0L2.0 50.0L3.0 75.0L4.0 100.0"
        );
        let many: Vec<f64> = (1..=10_000).map(f64::from).collect();
        let path = path(&many, across, up);
        assert!(path.ends_with("L10000.0 100.0"), "{path}");
        assert_eq!(path.matches('L').count(), POINTS);
    }
}
