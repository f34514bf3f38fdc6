//! Draws the chart: instruction counts, and times as multiples of the floor's.

use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::count::Counted;
use crate::peer::{Column, FLOOR, OURS, OURS_IN_BULK};
use crate::time::Timed;

/// The rows shown, which represent the others.
const ROWS: &[&str] = &[
    "push/Read/in a batch",
    "push/Read/one per call",
    "push/Read/built behind a call",
    "reap",
    "nop/plain/1",
    "nop/plain/128",
    "nop/all of these/1",
    "nop/all of these/128",
];
const BAR: u32 = 13;

/// A group of bars for each row.
struct Panel {
    title: &'static str,
    /// Longer bars are cut off at this value.
    limit: f64,
    groups: Vec<(String, Vec<(Column, f64)>)>,
}

pub(crate) fn draw(path: &Path, counts: &[Counted], times: &[Timed]) -> anyhow::Result<()> {
    let counts = counts.iter().filter(|row| ROWS.contains(&row.name.as_str())).map(|row| {
        let bars = row.columns.iter();
        let bars = bars.filter_map(|(c, count)| Some((*c, count.as_ref().ok()?.instructions)));
        (row.name.clone(), bars.collect())
    });
    let times = times.iter().filter(|row| ROWS.contains(&row.name.as_str())).map(|row| {
        let bars = row.columns.iter();
        let bars = bars.filter_map(|(c, time)| Some((*c, time.as_ref().ok()?.ratio.median)));
        (row.name.clone(), bars.collect())
    });
    let panels = [
        Panel { title: "Instructions per operation", limit: 125.0, groups: counts.collect() },
        Panel { title: "Time, as a multiple of by hand", limit: 2.5, groups: times.collect() },
    ];
    let panels: Vec<_> = panels.into_iter().filter(|panel| !panel.groups.is_empty()).collect();
    if panels.is_empty() {
        return Ok(());
    }
    let height = panels.iter().map(Panel::height).max().unwrap_or(0) + 40;
    let size = (560 * panels.len() as u32, height);
    let root = SVGBackend::new(path, size).into_drawing_area();
    let failed = |error: DrawingAreaErrorKind<_>| anyhow!("{}: {error}", path.display());
    root.fill(&WHITE).map_err(failed)?;
    for (panel, area) in panels.iter().zip(root.split_evenly((1, panels.len()))) {
        panel.draw(&area).map_err(failed)?;
    }
    root.present().map_err(failed)
}

impl Panel {
    fn height(&self) -> u32 {
        self.groups.iter().map(|(_, bars)| 26 + BAR * bars.len() as u32).sum()
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let font = |size: i32| ("sans-serif", size).into_font();
        let right = font(11).color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
        let left = font(11).color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(self.title, (10, 8), font(15).color(&BLACK)))?;
        let mut y = 32;
        for (name, bars) in &self.groups {
            area.draw(&Text::new(name.clone(), (10, y), font(12).color(&BLACK)))?;
            y += 18;
            for (column, value) in bars {
                let middle = y + BAR as i32 / 2;
                let end = 130 + (340.0 * value.min(self.limit) / self.limit) as i32;
                area.draw(&Text::new(*column, (124, middle), right.clone()))?;
                let corners = [(130, y + 1), (end, y + BAR as i32 - 1)];
                area.draw(&Rectangle::new(corners, color(column).filled()))?;
                area.draw(&Text::new(label(*value), (end + 4, middle), left.clone()))?;
                y += BAR as i32;
            }
            y += 8;
        }
        Ok(())
    }
}

fn label(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}

fn color(column: Column) -> RGBColor {
    match column {
        FLOOR => RGBColor(0x77, 0x77, 0x77),
        OURS => RGBColor(0x00, 0x5a, 0x9c),
        OURS_IN_BULK => RGBColor(0x4c, 0x9f, 0xd8),
        _ => RGBColor(0xe0, 0xa0, 0x50),
    }
}
