//! `fedgate completions` and `fedgate man`: both are made from the same structs as `--help`, so they cannot drift from it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

use super::Cli;

/// Which shell.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell to complete in.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Where the pages go.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Directory to write one page a subcommand to. Default: print the main page.
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Prints the script to standard output.
pub fn completions(args: CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fedgate", &mut script);
    exit_code(io::stdout().write_all(&script), "print the script")
}

/// Prints or writes the manual pages.
pub fn manual(args: ManArgs) -> ExitCode {
    match args.dir {
        Some(dir) => {
            let written = clap_mangen::generate_to(Cli::command(), &dir);
            exit_code(written, &format!("write the manual pages to {}", dir.display()))
        }
        None => exit_code(clap_mangen::Man::new(Cli::command()).render(&mut io::stdout()), "print the manual page"),
    }
}

fn exit_code(result: io::Result<()>, what: &str) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that closes early, like `head`, has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fedgate: cannot {what}: {error}");
            ExitCode::FAILURE
        }
    }
}
