//! What a push costs: CPU a sample, first push a series, memory a series. One million series in 200 clusters.
//!
//! `cargo bench --bench apply` prints a table; DESIGN's goals: steady ≤ 40 ns a sample (decode and apply), first push
//! ≤ 1 µs a series, ≤ 200 B a series.

#[path = "shape/mod.rs"]
mod shape;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if shape::is_producer() {
        return;
    }
    let path = shape::produced();
    let idle = shape::resident();
    let store = shape::store();
    let series = (shape::CLUSTERS * shape::SERIES) as f64;
    let mut steady = Vec::new();
    shape::replay(&store, &path, |round, cpu| {
        let ns = cpu.as_nanos() as f64 / series;
        match round {
            0 => println!("first push            {ns:8.1} ns a series"),
            _ => steady.push(ns),
        }
    });
    steady.sort_by(f64::total_cmp);
    println!("steady, median        {:8.1} ns a sample", steady[steady.len() / 2]);
    println!("memory                {:8.1} B a series", (shape::resident() - idle) as f64 / series);
    std::fs::remove_file(path).expect("the produced file");
}
