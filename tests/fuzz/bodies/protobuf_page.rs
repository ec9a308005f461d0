//! A page of delimited protobuf.
//!
//! Promises: reading ends, the same way each time; equal keys are equal series; every native histogram can be checked.

use std::collections::BTreeMap;

use fedgate::exposition::protobuf::{HistogramForms, Part, ProtobufEntry, ProtobufReader};
use fedgate::model::{Labels, LabelsBuilder};

/// Samples of one page; a page of more finds nothing new.
const SAMPLES_MAX: usize = 2_000;

/// Reads `page` in both forms that a job can ask for.
pub(crate) fn run(page: &[u8]) {
    for also_classic in [false, true] {
        let forms = HistogramForms { also_classic };
        assert_eq!(read(page, forms), read(page, forms));
    }
}

/// Everything that a page says up to its end or fault, as text.
fn read(page: &[u8], forms: HistogramForms) -> Vec<String> {
    let (mut reader, mut said) = (ProtobufReader::new(page, forms), Vec::new());
    let mut series: BTreeMap<Vec<u8>, Labels> = BTreeMap::new();
    while said.len() < SAMPLES_MAX {
        match reader.next() {
            Ok(Some(ProtobufEntry::Family(head))) => said.push(format!("{head:?}")),
            Ok(Some(ProtobufEntry::Sample(part, value))) => {
                said.push(sample(&reader, part, value, &mut series));
            }
            Ok(None) => break,
            Err(fault) => {
                said.push(fault.to_string());
                break;
            }
        }
    }
    said
}

fn sample(reader: &ProtobufReader<'_>, part: Part, value: f64, series: &mut BTreeMap<Vec<u8>, Labels>) -> String {
    let mut labels = LabelsBuilder::default();
    let told = match reader.labels(&mut labels) {
        Ok(()) => {
            let own = labels.build();
            assert_eq!(*series.entry(reader.key().to_vec()).or_insert_with(|| own.clone()), own, "one key, two series");
            own.to_string()
        }
        Err(fault) => fault.to_string(),
    };
    let native = (part == Part::Native).then(|| {
        // Whether it is a good one is for the scraper to find out, which may make it coarser first.
        let checked = reader.histogram().map(|histogram| (format!("{histogram:?}"), histogram.check()));
        (checked, reader.exemplars(&mut labels))
    });
    let beside = (reader.timestamp(), reader.start(), reader.exemplar(&mut labels));
    format!("{told} {part:?} {:016x} {native:?} {beside:?}", value.to_bits())
}
