//! What is kept of fuzzing: every file of `tests/fuzz/corpus` goes through its target's function with every test run.
//!
//! The files are seeds (small pages, frames, requests of each form) and inputs that once broke a promise. The functions say
//! what a decoder promises; here no fuzzer looks for more.

use std::fs;
use std::path::Path;

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

#[test]
fn every_kept_input_keeps_every_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, run) in bodies::TARGETS {
        let folder = fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("corpus of {name}: {error}"));
        let mut files: Vec<_> = folder.map(|entry| entry.expect("the corpus can be read").path()).collect();
        files.sort();
        assert!(!files.is_empty(), "corpus of {name} is empty");
        for file in files {
            let input = fs::read(&file).expect("the corpus can be read");
            let outcome = std::panic::catch_unwind(|| run(&input));
            assert!(outcome.is_ok(), "{name} breaks on {}", file.display());
        }
    }
}

/// Seeds of frames follow the format; after a change of it they must be written anew, or they would test nothing.
#[test]
fn the_seeds_of_frames_are_frames_of_this_format() {
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/frame_stream/seed-00");
    assert_eq!(bodies::frame_stream::applied(&fs::read(seed).expect("a seed")), 6, "run fuzz_seeds");
}
