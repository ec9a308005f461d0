//! Bytes of frames for each sample: exact, because the site is a function of its seed.

use fedgate::model::Timestamp;
use fedgate::snapshot::{Encoder, FrameLimits, StreamId};

use super::baseline::Figure;
use super::parts::SERIES;
use super::site::{NODE_SERIES, Page};

/// Ten minutes at 15 s, a KEY at their beginning.
const TICKS: usize = 40;
/// Share of the series that are replaced at each tick: 1 % a minute.
const REPLACED: f64 = 0.01 / 4.0;

/// Two shapes of site.
pub(crate) fn figures() -> Vec<Figure> {
    vec![
        Figure::new("wire-page", "bytes", bytes_a_sample(&mut [Page::new(1, 39, SERIES)])),
        Figure::new("wire-nodes", "bytes", {
            let mut pages: Vec<Page> = (1..=40).map(|seed| Page::new(seed, 1, NODE_SERIES)).collect();
            bytes_a_sample(&mut pages)
        }),
    ]
}

fn bytes_a_sample(pages: &mut [Page]) -> f64 {
    let mut encoder = Encoder::new(StreamId([1; 16]), Timestamp(0), FrameLimits::default());
    let (mut bytes, mut samples) = (0, 0);
    for _ in 0..TICKS {
        let scrapes: Vec<_> = pages
            .iter_mut()
            .map(|page| {
                page.advance();
                page.replace(REPLACED);
                page.scrape()
            })
            .collect();
        let now = pages[0].now();
        for frame in encoder.tick(now, now, &scrapes, false) {
            bytes += frame.bytes.len();
            samples += frame.samples;
        }
    }
    bytes as f64 / samples as f64
}
