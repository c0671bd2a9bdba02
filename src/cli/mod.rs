//! The command line: the only place where the rooms are wired together, and the only user of anyhow.

mod bench;
mod check;
mod init;
mod keeper;
mod key;
mod manual;
mod notify;
mod probe;
mod progress;
mod quantize;
mod relaunch;
mod serve;
mod server;
mod signals;
mod simulate;
mod watch;
mod worker;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

pub use server::{Server, ServerOptions, ShutDown};

use crate::policy::{Policy, PolicyError};

/// The default policy, carried in the program.
const DEFAULT_POLICY: &str = include_str!("../../policies/default.yaml");

/// Says what to log; see tracing-subscriber's `EnvFilter`.
const LOG_VARIABLE: &str = "MODELPOOL_LOG";
/// Warnings of llama.cpp matter, its chatter does not.
const DEFAULT_LOG: &str = "info,llama_cpp_2=warn,llama-cpp-2=warn";

/// Serves GGUF models to bursty traffic with a pool of llama.cpp instances that scales with its queue.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArguments,
}

const AFTER_HELP: &str = "Without a command it serves. Environment: MODELPOOL_LOG says what to log (error, warn, \
                          info, debug), MODELPOOL_CACHE_DIR where the embedded model is unpacked.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the models of a policy; without one, the embedded demo model.
    Serve(ServeArguments),
    /// Validate a policy and the model files that it names, without starting anything.
    Check {
        /// The policy to validate.
        file: PathBuf,
    },
    /// Look at this machine and at the GGUF files of a folder, and write a policy that fits both.
    Init(init::InitArguments),
    /// Make an API key for a server: prints the key, which is kept nowhere, and its entry for the file of keys.
    Key {
        /// What the key is called in the file, in metrics and in logs: 1 to 64 letters, digits and . _ -
        name: String,
    },
    /// Measure what this machine computes, or how fast a server answers, alone or beside another one.
    Bench(bench::BenchArguments),
    /// Replay traffic against a policy in virtual time, and compare with other ways to scale.
    ///
    /// The server's own decisions run against a model of the machine. Cost is the time that instances exist, as a multiple
    /// of the plan of somebody who knows the future.
    Simulate(Box<simulate::SimulateArguments>),
    /// Make variants of a full model, with fewer bits for each weight.
    ///
    /// A variant is written beside the full file, under its name with the type in place of f16, f32 or bf16:
    /// my-model-f16.gguf becomes my-model-q8_0.gguf. There a policy finds all of them with
    /// `variants: { auto: my-model-f16.gguf }`. Under its name a file is complete, or it is not there.
    Quantize(quantize::QuantizeArguments),
    /// Print the JSON Schema of policies, with which editors complete and check them.
    ///
    /// Write it to a file, and name the file in the first line of a policy:
    /// # yaml-language-server: $schema=policy.schema.json
    Schema,
    /// Print what a shell needs to complete this program's commands and options.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page of this program, or of one of its commands, in man's format.
    Man {
        /// The command [default: none, the program].
        command: Option<String>,
    },
    /// Make one variant for modelpool quantize, which starts this command by itself.
    #[command(hide = true)]
    QuantizeOne(quantize::QuantizeOneArguments),
    /// Hold a model for a server, which starts this command by itself.
    #[command(hide = true)]
    Worker(worker::WorkerArguments),
}

#[derive(Args, Debug)]
struct ServeArguments {
    /// The policy, a YAML file; paths in it are relative to its folder [default: the built-in policy].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Address and port to listen on, instead of the policy's server.listen.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// How the log is written: for people, or as JSON, a line for each event.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl ServeArguments {
    /// The policy, with what the arguments say.
    fn policy(&self) -> Result<Policy, PolicyError> {
        let mut policy = read_policy(self.policy.as_deref())?;
        policy.server.listen = self.listen.unwrap_or(policy.server.listen);
        Ok(policy)
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_worker = matches!(arguments.command, Some(Command::Worker(_) | Command::QuantizeOne(_)));
    let format = match &arguments.command {
        None => arguments.serve.log_format,
        Some(Command::Serve(serve)) => serve.log_format,
        Some(_) => LogFormat::Text,
    };
    start_log(is_worker, format);
    let outcome = match arguments.command {
        None => serve::run(&arguments.serve),
        Some(Command::Serve(serve)) => serve::run(&serve),
        Some(Command::Check { file }) => check::run(&file),
        Some(Command::Init(init)) => init::run(&init),
        Some(Command::Key { name }) => key::run(&name),
        Some(Command::Bench(bench)) => return exit_code(bench::run(&bench)),
        Some(Command::Simulate(simulate)) => return exit_code(simulate::run(&simulate)),
        Some(Command::Quantize(quantize)) => return exit_code(quantize::run(&quantize)),
        Some(Command::Schema) => {
            manual::schema();
            Ok(())
        }
        Some(Command::Completions { shell }) => manual::completions(shell),
        Some(Command::Man { command }) => manual::page(command.as_deref()),
        Some(Command::QuantizeOne(order)) => quantize::run_one(&order),
        Some(Command::Worker(worker)) => worker::run(&worker),
    };
    exit_code(outcome.map(|()| ExitCode::SUCCESS))
}

/// A command's own exit code, or that of an error, which is printed.
fn exit_code(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// This very program, also after its file was replaced by an update.
fn own_program() -> std::io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Ok(running) } else { std::env::current_exe() }
}

/// Prints to standard output. Nobody may be reading any more, which is no reason to fail.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Logs to standard error; colours only on a terminal, and not where `NO_COLOR` is set. A worker's lines begin with
/// their level: the server reads them and adds the time.
fn start_log(is_worker: bool, format: LogFormat) {
    let wanted = std::env::var(LOG_VARIABLE).ok().filter(|text| !text.is_empty());
    let filter = wanted.as_deref().map_or_else(|| Ok(EnvFilter::new(DEFAULT_LOG)), EnvFilter::try_new);
    let filter = filter.unwrap_or_else(|error| {
        eprintln!("warning: {LOG_VARIABLE} cannot be read ({error}); logging as if it were not set");
        EnvFilter::new(DEFAULT_LOG)
    });
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        _ if is_worker => log.with_ansi(false).without_time().init(),
        LogFormat::Text => log.with_ansi(colours).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// The policy in a file, or the default one.
fn read_policy(file: Option<&Path>) -> Result<Policy, PolicyError> {
    match file {
        Some(file) => Policy::from_file(file),
        // It names embedded files only, so the folder does not matter.
        None => Policy::parse(DEFAULT_POLICY, "the built-in policy", Path::new(".")),
    }
}
