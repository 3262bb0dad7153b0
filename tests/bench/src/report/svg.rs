//! Charts as SVG: some panels side by side, with logarithmic scales and one legend.
//!
//! It is little enough to be written here: a library for plots would bring fonts and their C libraries. A picture in a document
//! does not learn whether the page is light or dark, so each brings its own light ground. Lines differ in colour and in
//! the form of their points, for those who see few colours; the colours are those of Okabe and Ito.

use std::fmt::Write as _;

use super::markdown::grouped;
use super::scale::Scale;

const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#8a6d00", "#56b4e9",
];

const PANEL_WIDTH: f64 = 300.0;
const PANEL_HEIGHT: f64 = 300.0;

/// Around the area of a panel: room for the marks at its left, its title above, the marks and the label below.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = 52.0;

const LEGEND_LINE: f64 = 22.0;

/// How wide a character of the legend is at most, on average.
const CHARACTER: f64 = 6.8;

/// A picture.
pub(super) struct Chart {
    pub(super) title: String,
    /// The names of the lines, of which every panel has one each.
    pub(super) lines: Vec<String>,
    pub(super) panels: Vec<Panel>,
    pub(super) x_label: String,
    pub(super) x_marks: Vec<usize>,
}

/// One pair of axes.
pub(super) struct Panel {
    pub(super) title: String,
    /// How a figure is written at the axis.
    pub(super) mark: fn(f64) -> String,
    pub(super) lines: Vec<Line>,
}

/// The points of a line, from left to right; all of them above zero.
pub(super) struct Line(pub(super) Vec<(f64, f64)>);

impl Chart {
    pub(super) fn draw(&self) -> String {
        let width = PANEL_WIDTH * self.panels.len() as f64;
        let legend = legend(&self.lines, width);
        let height = PANEL_HEIGHT + LEGEND_LINE * legend.rows + 14.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"12\" fill=\"#24292f\">\n\
             <title>{0}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"#ffffff\"/>\n\
             <text x=\"16\" y=\"26\" font-size=\"15\" font-weight=\"600\">{0}</text>\n",
            escaped(&self.title)
        );
        for (number, panel) in self.panels.iter().enumerate() {
            self.draw_panel(&mut svg, panel, PANEL_WIDTH * number as f64);
        }
        svg.push_str(&legend.svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_panel(&self, svg: &mut String, panel: &Panel, offset: f64) {
        let (left, right) = (offset + LEFT, offset + PANEL_WIDTH - RIGHT);
        let (top, bottom) = (TOP, PANEL_HEIGHT - BOTTOM);
        let x_figures: Vec<_> = self.x_marks.iter().map(|mark| *mark as f64).collect();
        let x = Scale::of(&x_figures, left, right);
        let figures = panel.lines.iter().flat_map(|line| &line.0).map(|(_, y)| *y);
        let y = Scale::around(figures, bottom, top);
        let _ = writeln!(
            svg,
            "<text x=\"{left}\" y=\"{:.1}\" font-weight=\"600\">{}</text>",
            top - 12.0,
            escaped(&panel.title)
        );
        for mark in y.marks() {
            let place = y.place(mark);
            let _ = writeln!(
                svg,
                "<path d=\"M{left} {place:.1}H{right}\" stroke=\"#d8dee4\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                place + 4.0,
                escaped(&(panel.mark)(mark))
            );
        }
        for mark in x_figures {
            let place = x.place(mark);
            let _ = writeln!(
                svg,
                "<path d=\"M{place:.1} {bottom}v5\" stroke=\"#57606a\"/>\
                 <text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 19.0,
                grouped(mark)
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#57606a\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(left, right),
            bottom + 38.0,
            escaped(&self.x_label)
        );
        // The first line is what the picture is about, and lies on top.
        for (number, line) in panel.lines.iter().enumerate().rev() {
            let places: Vec<_> = line
                .0
                .iter()
                .map(|(at, figure)| (x.place(*at), y.place(*figure)))
                .collect();
            draw_line(svg, number, &places);
        }
    }
}

fn draw_line(svg: &mut String, number: usize, places: &[(f64, f64)]) {
    let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let width = if number == 0 { 2.6 } else { 1.5 };
    if path.len() > 1 {
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"/>",
            path.join("L"),
            colour(number)
        );
    }
    for place in places {
        draw_point(svg, number, *place);
    }
}

/// A point, whose form tells its line.
fn draw_point(svg: &mut String, number: usize, (x, y): (f64, f64)) {
    let form = match number % 5 {
        0 => "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
        1 => "m-4 -4h8v8h-8z",
        2 => "m0 -5.5l5 9h-10z",
        3 => "m0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
        _ => "m0 5.5l5 -9h-10z",
    };
    let _ = writeln!(
        svg,
        "<path d=\"M{x:.1} {y:.1}{form}\" fill=\"{}\" stroke=\"#ffffff\"/>",
        colour(number)
    );
}

struct Legend {
    svg: String,
    rows: f64,
}

/// The names of the lines with their points, in as many rows as they need.
fn legend(names: &[String], width: f64) -> Legend {
    let mut svg = String::new();
    let (mut x, mut rows) = (16.0, 1.0);
    for (number, name) in names.iter().enumerate() {
        let needs = 22.0 + CHARACTER * name.chars().count() as f64 + 18.0;
        if x + needs > width && x > 16.0 {
            (x, rows) = (16.0, rows + 1.0);
        }
        let y = PANEL_HEIGHT + LEGEND_LINE * (rows - 0.5);
        draw_point(&mut svg, number, (x + 8.0, y));
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 20.0,
            y + 4.0,
            escaped(name)
        );
        x += needs;
    }
    Legend { svg, rows }
}

fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
