//! A server's process: its start, its CPU time, its memory, its end.
//!
//! CPU is user and system time of all its threads. The kernel counts nanoseconds in `schedstat`, but forgets a thread
//! that ended; `stat` keeps those, in ticks of 10 ms. The larger of the two is the better one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `sysconf(_SC_CLK_TCK)` of every Linux there is.
const TICKS_PER_SECOND: f64 = 100.0;
/// How often a server that starts is asked whether it is ready.
const LOOK: Duration = Duration::from_millis(20);
/// How long a server may take to get ready, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; ends with its handle.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    /// Resident bytes once it was ready, before any load.
    pub(crate) idle: f64,
    /// From its start until it was ready, to some milliseconds.
    pub(crate) ready_after: Duration,
}

impl Process {
    /// Starts it with its output in a file of `folder` and waits until `is_ready`.
    pub(crate) fn start(folder: &Path, command: &mut Command, is_ready: impl Fn() -> bool) -> Process {
        let name = Path::new(command.get_program()).file_name().expect("a program").to_string_lossy().into_owned();
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).expect("the folder can be written");
        command.stdin(Stdio::null()).stderr(output.try_clone().expect("a file")).stdout(output);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let mut process = Process { child, log, idle: 0.0, ready_after: Duration::ZERO };
        let start = Instant::now();
        while !is_ready() {
            let ended = process.child.try_wait().expect("a child").is_some();
            assert!(!ended && start.elapsed() < PATIENCE, "{name} is not ready:\n{}", process.output());
            std::thread::sleep(LOOK);
        }
        process.ready_after = start.elapsed();
        // What a start leaves to do is not counted to what follows.
        std::thread::sleep(Duration::from_millis(500));
        process.idle = process.rss();
        process
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn proc_file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }

    /// CPU seconds since its start.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(self.proc_file("stat"))
            .unwrap_or_else(|error| panic!("the server ended: {error}\n{}", self.output()));
        let (_, fields) = stat.rsplit_once(')').expect("the program's name in brackets");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("ticks")).sum();
        let tasks = fs::read_dir(self.proc_file("task")).into_iter().flatten().flatten();
        let nanos: f64 = tasks.filter_map(|task| schedstat(&task.path())).sum();
        (ticks / TICKS_PER_SECOND).max(nanos / 1e9)
    }

    fn status(&self, key: &str) -> f64 {
        let status = fs::read_to_string(self.proc_file("status")).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("Linux has it");
        let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("kilobytes");
        kib * 1024.0
    }

    /// Resident bytes.
    pub(crate) fn rss(&self) -> f64 {
        self.status("VmRSS")
    }

    /// The most resident bytes since [`Process::reset_peak`].
    pub(crate) fn peak(&self) -> f64 {
        self.status("VmHWM")
    }

    /// Forgets the peak.
    pub(crate) fn reset_peak(&self) {
        // Where the kernel refuses it, the peak is that of the whole life: too high, never too low.
        let _ = fs::write(self.proc_file("clear_refs"), "5");
    }
}

/// Nanoseconds of CPU of a thread that is still there.
fn schedstat(task: &Path) -> Option<f64> {
    fs::read_to_string(task.join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its folder goes with it: nothing that a proper end would write is needed.
        self.kill();
    }
}

/// Where a program is on PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
