//! What the program tells of itself to editors, shells and `man`.

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::{Arguments, DEFAULT_POLICY, print};
use crate::policy;

/// The JSON Schema of policies.
pub fn schema() {
    print(&format!("{:#}\n", policy::schema(DEFAULT_POLICY)));
}

/// The program with the commands that people use. Generators list hidden ones, too.
fn shown() -> Command {
    let whole = Arguments::command();
    let mut shown = Command::new("modelpool").args(whole.get_arguments().cloned());
    shown = shown.subcommands(whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
    shown = shown.version(env!("CARGO_PKG_VERSION")).after_help(super::AFTER_HELP);
    if let Some(about) = whole.get_about() {
        shown = shown.about(about.clone());
    }
    shown
}

/// Completions for a shell.
pub fn completions(shell: Shell) -> anyhow::Result<()> {
    let (mut command, mut text) = (shown(), Vec::new());
    clap_complete::generate(shell, &mut command, "modelpool", &mut text);
    print(&String::from_utf8(text)?);
    Ok(())
}

/// The manual page of the program, or of one of its commands.
pub fn page(of: Option<&str>) -> anyhow::Result<()> {
    let mut program = shown();
    program.build();
    let page = match of {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => anyhow::bail!("there is no command {name:?}; see modelpool --help"),
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    print(&String::from_utf8(text)?);
    Ok(())
}
