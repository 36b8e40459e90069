//! A dashboard as Grafana would lay it out, as SVG: drawn from its JSON and from what Prometheus answers.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::Value;

use crate::prometheus::Prometheus;

/// Of Grafana's grid, in pixels: 24 columns.
const COLUMN: f64 = 50.0;
const ROW: f64 = 28.0;

const COLOURS: [&str; 7] = [
    "#3274d9", "#e0752d", "#37872d", "#a352cc", "#e02f44", "#c15c17", "#5794f2",
];

/// What the legend has room for.
const MOST_NAMES: usize = 6;

/// What time a picture shows, in seconds since 1970, and how far its points lie apart.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// Between two points.
    pub step: f64,
}

#[derive(Debug)]
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// A panel's place, in pixels.
#[derive(Debug, Clone, Copy)]
struct Place {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Draws a dashboard. Fails where Prometheus cannot be asked.
pub async fn picture(
    dashboard: &Value,
    prometheus: &Prometheus,
    span: Span,
) -> anyhow::Result<String> {
    let (mut drawn, mut height) = (String::new(), 0.0_f64);
    for panel in dashboard["panels"].as_array().context("no panels")? {
        let place = Place::of(&panel["gridPos"]);
        height = height.max(place.y + place.height);
        let mut series = Vec::new();
        for target in panel["targets"].as_array().context("no targets")? {
            series.extend(ask(target, prometheus, span).await?);
        }
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        let title = panel["title"].as_str().unwrap_or_default();
        frame(&mut drawn, place, title)?;
        if panel["type"] == "stat" {
            stat(&mut drawn, place, &series, unit)?;
        } else {
            lines(&mut drawn, place, (&series, unit), span)?;
        }
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#f4f5f5\"/>\n{drawn}</svg>\n",
        24.0 * COLUMN
    ))
}

async fn ask(target: &Value, prometheus: &Prometheus, span: Span) -> anyhow::Result<Vec<Series>> {
    let query = target["expr"].as_str().context("no expr")?;
    let query = query.replace("$__rate_interval", "10s");
    let found = prometheus.range(&query, span).await?;
    let series = found.iter().map(|found| {
        let mut name = target["legendFormat"].as_str().unwrap_or("").to_owned();
        for (label, value) in found["metric"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            name = name.replace(&format!("{{{{{label}}}}}"), value);
        }
        let points = found["values"].as_array().into_iter().flatten();
        let points = points.filter_map(|point| {
            let value: f64 = point[1].as_str()?.parse().ok()?;
            value.is_finite().then_some((point[0].as_f64()?, value))
        });
        Series {
            name,
            points: points.collect(),
        }
    });
    Ok(series.collect())
}

impl Place {
    fn of(grid: &Value) -> Self {
        let number = |key: &str| grid[key].as_f64().unwrap_or_default();
        Self {
            x: number("x") * COLUMN + 3.0,
            y: number("y") * ROW + 3.0,
            width: number("w") * COLUMN - 6.0,
            height: number("h") * ROW - 6.0,
        }
    }
}

fn frame(drawn: &mut String, place: Place, title: &str) -> anyhow::Result<()> {
    let Place {
        x,
        y,
        width,
        height,
    } = place;
    writeln!(
        drawn,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"2\" fill=\"#fff\" stroke=\"#d8d9da\"/>"
    )?;
    text(drawn, (x + 8.0, y + 17.0), "font-weight=\"bold\"", title)
}

/// The last value of each, as one number or by name.
fn stat(
    drawn: &mut String,
    place: Place,
    series: &[Series],
    unit: Option<&str>,
) -> anyhow::Result<()> {
    let last = |series: &Series| Some(shown(series.points.last()?.1, unit));
    if let [one] = series {
        let value = last(one).unwrap_or_default();
        let at = (place.x + 8.0, place.y + 66.0);
        return text(drawn, at, "font-size=\"34\" fill=\"#37872d\"", &value);
    }
    for (row, one) in (0_u32..).zip(series.iter().take(MOST_NAMES)) {
        let at = (place.x + 8.0, place.y + 34.0 + 14.0 * f64::from(row));
        let words = format!("{} {}", one.name, last(one).unwrap_or_default());
        text(drawn, at, "fill=\"#37872d\"", &words)?;
    }
    Ok(())
}

fn lines(
    drawn: &mut String,
    place: Place,
    (series, unit): (&[Series], Option<&str>),
    span: Span,
) -> anyhow::Result<()> {
    let (left, right) = (place.x + 60.0, place.x + place.width - 12.0);
    let (top, bottom) = (place.y + 30.0, place.y + place.height - 40.0);
    let values = series.iter().flat_map(|one| &one.points);
    let (low, high) = values.fold((0.0_f64, 0.0_f64), |(low, high), (_, value)| {
        (low.min(*value), high.max(*value))
    });
    let high = if high > low { high } else { low + 1.0 };
    for (value, y) in [(high, top), (low, bottom)] {
        writeln!(
            drawn,
            "<path d=\"M{left} {y}H{right}\" stroke=\"#e5e6e7\"/>"
        )?;
        let words = "text-anchor=\"end\" fill=\"#555\"";
        text(drawn, (left - 6.0, y + 4.0), words, &shown(value, unit))?;
    }
    let minutes = format!("{:.0} minutes", (span.to - span.from) / 60.0);
    let words = "text-anchor=\"end\" fill=\"#555\"";
    text(drawn, (right, bottom + 14.0), words, &minutes)?;
    let mut name_at = place.x + 8.0;
    for (number, one) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points = one.points.iter().map(|(time, value)| {
            let x = left + (right - left) * (time - span.from) / (span.to - span.from);
            let y = bottom - (bottom - top) * (value - low) / (high - low);
            format!("{x:.0},{y:.0}")
        });
        let points: Vec<_> = points.collect();
        writeln!(
            drawn,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            points.join(" ")
        )?;
        if number < MOST_NAMES {
            let words = format!("fill=\"{colour}\"");
            let at = (name_at, place.y + place.height - 8.0);
            text(drawn, at, &words, &one.name)?;
            name_at += 7.0 * f64::from(u32::try_from(one.name.len())?) + 16.0;
        }
    }
    Ok(())
}

fn text(
    drawn: &mut String,
    (x, y): (f64, f64),
    attributes: &str,
    words: &str,
) -> anyhow::Result<()> {
    let words = escaped(words);
    writeln!(
        drawn,
        "<text x=\"{x:.0}\" y=\"{y:.0}\" {attributes}>{words}</text>"
    )?;
    Ok(())
}

/// As a text of XML has it.
pub fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

/// With the letters of its size and its unit.
fn shown(value: f64, unit: Option<&str>) -> String {
    let (step, letters, end) = match unit {
        Some("bytes") => (1024.0, ["", " Ki", " Mi", " Gi"], "B"),
        Some("Bps") => (1000.0, ["", " k", " M", " G"], "B/s"),
        Some("reqps") => (1000.0, ["", " k", " M", " G"], "/s"),
        Some("s") if value.abs() < 1.0 && value != 0.0 => {
            return format!("{:.0} ms", value * 1000.0);
        }
        Some("s") if value.abs() > 7200.0 => return format!("{:.1} h", value / 3600.0),
        Some("s") => (1e9, [" "; 4], "s"),
        Some("percentunit") => return format!("{:.0} %", value * 100.0),
        _ => (1000.0, ["", " k", " M", " G"], ""),
    };
    let (mut value, mut letter) = (value, 0);
    while value.abs() >= step && letter + 1 < letters.len() {
        value /= step;
        letter += 1;
    }
    let digits = usize::from(value.abs() < 10.0 && value.fract() != 0.0);
    format!("{value:.digits$}{}{end}", letters[letter])
}
