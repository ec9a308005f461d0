//! A child process and what the kernel counts of it.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running program; it ends with its handle.
pub(crate) struct Process {
    child: Child,
}

/// What a process has used so far, and holds now.
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Bytes of memory, and of them those of its own and those of files (the program itself).
    pub(crate) resident: u64,
    pub(crate) own: u64,
    pub(crate) file: u64,
    /// The most that `resident` ever was.
    pub(crate) peak: u64,
    pub(crate) threads: usize,
    /// How often one of its threads went to sleep.
    pub(crate) switches: u64,
}

impl Process {
    /// Starts `command`; what it says is thrown away.
    pub(crate) fn start(command: &mut Command) -> Process {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Process { child: command.spawn().expect("the program starts") }
    }

    /// Reads /proc. Threads that ended are not counted; none of these programs' do while they are measured.
    pub(crate) fn usage(&self) -> Usage {
        let folder = format!("/proc/{}", self.child.id());
        let (mut cpu, mut switches, mut threads) = (0, 0, 0);
        for task in fs::read_dir(format!("{folder}/task")).expect("the process runs").flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            cpu += first_number(&read("schedstat"));
            switches += field(&read("status"), "voluntary_ctxt_switches:");
            threads += 1;
        }
        let status = fs::read_to_string(format!("{folder}/status")).expect("the process runs");
        let bytes = |name| field(&status, name) << 10;
        Usage {
            cpu: Duration::from_nanos(cpu),
            resident: bytes("VmRSS:"),
            own: bytes("RssAnon:"),
            file: bytes("RssFile:"),
            peak: bytes("VmHWM:"),
            threads,
            switches,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn field(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)).map_or(0, first_number)
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}
