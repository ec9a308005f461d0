//! The tables: a line a measurement, a column a program, and beside them the goal and how fedgate compares.
//!
//! Of everything measured less is better, so the ratio is always the best peer's median over fedgate's. The report prints
//! itself at its end, so that a fault late in a run does not cost what was measured before.

use std::fmt;

use crate::options::Peer;

/// Measurements by section, in the order in which they came.
#[derive(Default)]
pub(crate) struct Report {
    sections: Vec<Section>,
}

struct Section {
    title: &'static str,
    lines: Vec<Line>,
}

struct Line {
    work: String,
    goal: Option<f64>,
    cells: Vec<(&'static str, Vec<f64>)>,
}

impl Report {
    /// Adds what was measured, run by run; `work` names it with its unit.
    pub(crate) fn add(
        &mut self,
        title: &'static str,
        work: impl Into<String>,
        goal: Option<f64>,
        column: &'static str,
        runs: &[f64],
    ) {
        let (work, mut runs) = (work.into(), runs.to_vec());
        runs.sort_by(f64::total_cmp);
        eprintln!("{column}: {work}: {}", spread(&runs));
        let section = match self.sections.iter().position(|section| section.title == title) {
            Some(at) => &mut self.sections[at],
            None => {
                self.sections.push(Section { title, lines: Vec::new() });
                self.sections.last_mut().expect("just added")
            }
        };
        match section.lines.iter_mut().find(|line| line.work == work) {
            Some(line) => line.cells.push((column, runs)),
            None => section.lines.push(Line { work, goal, cells: vec![(column, runs)] }),
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.sections.iter().for_each(|section| println!("{section}"));
    }
}

impl Section {
    /// Peers as they came, fedgate last.
    fn columns(&self) -> Vec<&'static str> {
        let mut columns = Vec::new();
        let names = self.lines.iter().flat_map(|line| line.cells.iter().map(|(name, _)| *name));
        for name in names {
            if !columns.contains(&name) {
                columns.push(name);
            }
        }
        columns.sort_by_key(|name| *name == Peer::Fedgate.column());
        columns
    }
}

impl Line {
    fn median(&self, column: &str) -> Option<f64> {
        self.cells.iter().find(|(name, _)| *name == column).map(|(_, runs)| runs[runs.len() / 2])
    }

    fn ratio(&self) -> String {
        let own = self.median(Peer::Fedgate.column());
        let others = self.cells.iter().filter(|(name, _)| *name != Peer::Fedgate.column());
        let best = others.map(|(_, runs)| runs[runs.len() / 2]).min_by(f64::total_cmp);
        match (own, best) {
            (Some(own), Some(best)) if own > 0.0 => format!("{}×", figure(best / own)),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns();
        writeln!(out, "| {} | goal | {} | ratio |", self.title, columns.join(" | "))?;
        writeln!(out, "|---|---:|{}---:|", "---:|".repeat(columns.len()))?;
        for line in &self.lines {
            let cell = |column: &&str| line.cells.iter().find(|(name, _)| name == column).map(|(_, runs)| spread(runs));
            let cells: Vec<String> = columns.iter().map(|column| cell(column).unwrap_or_default()).collect();
            let goal = line.goal.map(figure).unwrap_or_default();
            writeln!(out, "| {} | {goal} | {} | {} |", line.work, cells.join(" | "), line.ratio())?;
        }
        Ok(())
    }
}

/// The median, with the least and the most where they differ; `runs` are sorted.
fn spread(runs: &[f64]) -> String {
    let (least, median, most) = (figure(runs[0]), figure(runs[runs.len() / 2]), figure(runs[runs.len() - 1]));
    if least == most { median } else { format!("{median} ({least}–{most})") }
}

/// Three digits that count.
fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}
