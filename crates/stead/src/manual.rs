//! Completion scripts and manual pages, made from the command line's own description.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::Failure;
use crate::screen::Screen;

/// Prints the completion script of a shell.
pub(crate) fn completions(screen: &mut Screen, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stead", &mut script);
    screen.write(&String::from_utf8_lossy(&script))
}

/// Prints the main manual page, or writes one page per command into a folder.
pub(crate) fn pages(screen: &mut Screen, dir: Option<&Path>) -> Result<(), Failure> {
    let failed = |source| Failure::Manual { source };
    if let Some(dir) = dir {
        std::fs::create_dir_all(dir).map_err(failed)?;
        return clap_mangen::generate_to(Cli::command(), dir).map_err(failed);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(failed)?;
    screen.write(&String::from_utf8_lossy(&page))
}
