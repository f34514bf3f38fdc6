//! Formats the tables.

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use crate::count::Counted;
use crate::echo::Echoed;
use crate::peer::{Column, FLOOR, OURS, OURS_IN_BULK, is_peer};
use crate::time::{Quartiles, Timed};

pub(crate) fn counts(rows: &[Counted]) -> String {
    let columns = rows.iter().map(|row| (row.name.as_str(), row.columns.as_slice()));
    table(columns, |count| {
        format!("{:.1} ({:.1}, {:.1})", count.instructions, count.loads, count.stores)
    })
}

pub(crate) fn times(rows: &[Timed]) -> String {
    let columns = rows.iter().map(|row| (row.name.as_str(), row.columns.as_slice()));
    table(columns, |time| format!("{} · {}", nanoseconds(time.nanoseconds), quartiles(time.ratio)))
}

/// Our crate as a multiple of each peer.
pub(crate) fn to_peers(rows: &[Timed]) -> String {
    let rows = rows.iter().filter(|row| !row.to_peers.is_empty());
    table(rows.map(|row| (row.name.as_str(), row.to_peers.as_slice())), |ratio| quartiles(*ratio))
}

pub(crate) fn echoes(rows: &[Echoed]) -> String {
    let columns = rows.iter().map(|row| (row.name.as_str(), row.columns.as_slice()));
    table(columns, |echo| {
        format!(
            "{:.0}/s · {} ({:.2}) · {:.2}",
            echo.per_second,
            nanoseconds(echo.cpu),
            echo.cpu_ratio.median,
            echo.calls
        )
    })
}

fn nanoseconds(time: f64) -> String {
    if time < 100.0 {
        format!("{time:.2} ns")
    } else if time < 10_000.0 {
        format!("{time:.0} ns")
    } else {
        format!("{:.1} µs", time / 1000.0)
    }
}

pub(crate) fn quartiles(Quartiles { low, median, high }: Quartiles) -> String {
    format!("{median:.2} [{low:.2}–{high:.2}]")
}

/// A table of rows, each of which has some of the columns. A missing value is shown as a dash, with
/// its reason below the table.
fn table<'a, T: 'a>(
    rows: impl Iterator<Item = (&'a str, &'a [(Column, Result<T, String>)])>,
    cell: impl Fn(&T) -> String,
) -> String {
    let rows: Vec<_> = rows.collect();
    let mut columns: Vec<Column> = Vec::new();
    for (column, _) in rows.iter().flat_map(|(_, columns)| *columns) {
        if !columns.contains(column) {
            columns.push(column);
        }
    }
    columns.sort_by_key(|column| match *column {
        FLOOR => 0,
        OURS => 1,
        OURS_IN_BULK => 2,
        column if is_peer(column) => 3,
        _ => 4,
    });
    let mut reasons: Vec<String> = Vec::new();
    let mut table = new_table([""].into_iter().chain(columns.iter().copied()));
    for (name, own) in rows {
        let mut cells = vec![name.to_owned()];
        for column in &columns {
            cells.push(match own.iter().find(|(other, _)| other == column) {
                Some((_, Ok(value))) => cell(value),
                Some((_, Err(reason))) => {
                    let reason = format!("{column}: {reason}");
                    if !reasons.contains(&reason) {
                        reasons.push(reason);
                    }
                    "–".into()
                }
                None => String::new(),
            });
        }
        table.add_row(cells);
    }
    let mut text = table.to_string();
    for reason in reasons {
        text += &format!("\n– {reason}");
    }
    text
}

fn new_table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
