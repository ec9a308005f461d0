//! The examples of `docs/exposition.md` end as the document says.
//!
//! They are also among the pages that the real Prometheus scrapes (`pages_against_prometheus`), so that the document cannot
//! say of it what is not so.

use fedgate::exposition::{Entry, Format, parser};
use fedgate::model::LabelsBuilder;

const DOCUMENT: &str = include_str!("../../docs/exposition.md");
/// Headings above the tables of examples.
const SECTIONS: [(&str, Format); 2] = [("## Text 0.0.4", Format::Text), ("## OpenMetrics", Format::OpenMetrics)];

/// One row: the page in its format, and whether it is taken.
pub(crate) fn examples() -> Vec<(Format, String, bool)> {
    let mut format = None;
    let mut examples = Vec::new();
    for line in DOCUMENT.lines() {
        if line.starts_with("## ") {
            format = SECTIONS.iter().find(|(heading, _)| line.starts_with(heading)).map(|(_, format)| *format);
        }
        let (Some(format), Some(row)) = (format, line.strip_prefix("| `")) else { continue };
        let (page, rest) = row.split_once("` |").expect("an example ends");
        let said = rest.split('|').nth(1).expect("three columns").trim();
        let is_taken = said.starts_with("taken");
        assert!(is_taken || said.starts_with("refused"), "{said}");
        examples.push((format, page.replace('⏎', "\n").replace('␍', "\r").replace('⇥', "\t"), is_taken));
    }
    examples
}

fn is_taken(format: Format, page: &str) -> bool {
    let (mut parser, mut labels) = (parser(format, page.as_bytes()), LabelsBuilder::default());
    loop {
        match parser.next() {
            Ok(Some(Entry::Sample(sample))) if sample.labels(&mut labels).is_err() => return false,
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

#[test]
fn every_example_ends_as_the_document_says() {
    let examples = examples();
    assert!(examples.len() > 40, "{} examples", examples.len());
    for (format, page, taken) in examples {
        assert_eq!(is_taken(format, &page), taken, "{format:?}: {page:?}");
    }
}
