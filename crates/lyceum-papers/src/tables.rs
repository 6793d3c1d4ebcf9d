//! A summary as text for a terminal and as Markdown for a card.

use std::fmt::Write as _;

use crate::{Cell, ClaimSummary, Summary};

/// Columns that align, two spaces between them; the last is not filled up.
#[must_use]
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// Columns of a terminal that tables keep to where they can.
const WIDTH: usize = 118;

/// [`aligned`], as several tables one below the other where one would be too wide; each begins with the first column.
fn stacked(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let pick = |columns: &[usize]| -> Vec<Vec<String>> {
        rows.iter()
            .map(|row| columns.iter().filter_map(|&column| row.get(column).cloned()).collect())
            .collect()
    };
    let fits = |columns: &[usize]| aligned(&pick(columns)).lines().all(|line| line.chars().count() <= WIDTH);
    let mut tables = Vec::new();
    let mut taken = vec![0];
    for column in 1..columns {
        taken.push(column);
        if taken.len() > 2 && !fits(&taken) {
            taken.pop();
            tables.push(aligned(&pick(&taken)));
            taken = vec![0, column];
        }
    }
    tables.push(aligned(&pick(&taken)));
    tables.join("\n")
}

/// A mean with its interval and all that limits it.
pub(crate) fn cell(cell: &Cell) -> String {
    let size = cell.estimate.mean.abs();
    let precision = if size >= 100.0 {
        1
    } else if size >= 10.0 {
        2
    } else {
        3
    };
    let mut text = format!("{:.precision$}", cell.estimate);
    if cell.censored > 0 {
        let _ = write!(text, " ({} censored: never reached)", cell.censored);
    }
    text
}

/// Arms by metrics.
fn arms(summary: &Summary) -> Vec<Vec<String>> {
    let mut head = vec!["arm".to_owned()];
    head.extend(summary.metrics.iter().cloned());
    head.push("runs".into());
    let rows = summary.arms.iter().map(|arm| {
        let mut row = vec![arm.title.clone()];
        if arm.title != arm.name {
            row[0] = format!("{}: {}", arm.name, arm.title);
        }
        row.extend(summary.metrics.iter().map(|name| arm.metrics.get(name).map_or_else(String::new, cell)));
        let failed = if arm.failed > 0 { format!(", {} FAILED", arm.failed) } else { String::new() };
        row.push(format!("{}{failed}", arm.seeds));
        row
    });
    std::iter::once(head).chain(rows).collect()
}

/// Who claims it.
const fn whose(claim: &ClaimSummary) -> &'static str {
    if claim.claim.ours { "our inference, not the paper's" } else { "the paper" }
}

fn verdict(claim: &ClaimSummary) -> String {
    let mut text = claim.verdict.name().to_owned();
    if let Some(why) = &claim.why {
        let _ = write!(text, " ({why})");
    }
    match claim.failed {
        0 => {}
        1 => text += "; 1 run failed and is in no mean",
        failed => {
            let _ = write!(text, "; {failed} runs failed and are in no mean");
        }
    }
    text
}

/// How much of the plan the numbers stand on.
fn state(summary: &Summary) -> String {
    let mut text = format!("{} of {} runs finished", summary.finished, summary.planned);
    if !summary.failures.is_empty() {
        let _ = write!(text, ", {} failed", summary.failures.len());
    }
    if summary.quick {
        text += "; --quick: small runs that decide nothing";
    }
    text
}

/// For a terminal.
#[must_use]
pub fn text(summary: &Summary) -> String {
    let mut text = format!("{}: {}\n{}\n", summary.study, summary.title, state(summary));
    text += "mean over seeds [95 % interval] number of seeds\n\n";
    text += &stacked(&arms(summary));
    for claim in &summary.claims {
        let _ = writeln!(text, "\n{}", claim.claim.name);
        let _ = writeln!(text, "  claim     {} ({})", claim.claim.paper, whose(claim));
        let _ = writeln!(text, "  measured  {claim}");
        let _ = writeln!(text, "  verdict   {}", verdict(claim));
    }
    if !summary.failures.is_empty() {
        text += "\nfailed\n";
    }
    for failure in &summary.failures {
        let _ = writeln!(text, "  {} seed {}: {}", failure.arm, failure.seed, failure.cause);
    }
    text
}

/// For a card.
#[must_use]
pub fn markdown(summary: &Summary) -> String {
    let mut text = format!(
        "{}. Made by `lyceum reproduce {}`. Means over seeds, 95 % intervals (Student's t), number of seeds.\n\n",
        state(summary),
        summary.study
    );
    table(&mut text, &arms(summary));
    if !summary.claims.is_empty() {
        let head = ["claim", "measured", "verdict"].map(String::from).to_vec();
        let rows = summary.claims.iter().map(|claim| {
            let said = format!("**{}.** {} *({})*", claim.claim.name, claim.claim.paper, whose(claim));
            vec![said, claim.to_string(), verdict(claim)]
        });
        text.push('\n');
        table(&mut text, &std::iter::once(head).chain(rows).collect::<Vec<_>>());
    }
    if !summary.failures.is_empty() {
        text += "\nFailed:\n\n";
    }
    for failure in &summary.failures {
        let _ = writeln!(text, "- {} seed {}: {}", failure.arm, failure.seed, plain(&failure.cause));
    }
    for file in &summary.figures {
        let _ = write!(text, "\n![{file}]({file})\n");
    }
    text
}

fn table(text: &mut String, rows: &[Vec<String>]) {
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|cell| plain(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if index == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
}

/// On one line, and no end of a cell in it.
fn plain(cell: &str) -> String {
    cell.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_table_is_stacked() {
        let wide = "x".repeat(50);
        let rows: Vec<Vec<String>> = ["arm", "min"]
            .iter()
            .map(|name| [*name, &wide, "b", &wide, "d"].map(String::from).to_vec())
            .collect();
        let text = stacked(&rows);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!(text.matches("arm").count(), 1, "118 columns are enough: {text}");
        let rows: Vec<Vec<String>> = rows.into_iter().map(|row| [row, vec![wide.clone()]].concat()).collect();
        let text = stacked(&rows);
        assert_eq!((text.matches("arm").count(), text.matches("\n\n").count()), (2, 1), "{text}");
    }
}
