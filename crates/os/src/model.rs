//! Runs code that hands over between threads under a model checker: many interleavings, each of which a seed decides.
//!
//! A model is a function that starts a few threads with the real code and asserts what must hold. A thread that waits
//! for ever is an error, too: the checker knows no time, so a wait with a limit never times out, unless the model says
//! so ([`let_waits_time_out`]). Each model names the planted faults that it has to find.

use std::any::Any;
use std::cell::Cell;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::planted::activate;

/// Interleavings of each scheduler for each model. All models together take some seconds with it. The variable
/// `MODEL_RUNS` asks for another number.
const RUNS: usize = 1000;

/// Where the random numbers begin, so that every run tries the same interleavings. `MODEL_SEED` sets another one.
const SEED: u64 = 1;

/// Preemptions that the second scheduler places (probabilistic concurrency testing). Most faults of hand-overs need
/// one or two.
const DEPTH: usize = 3;

/// Stack of a thread, in bytes. Some models read and write files in a build without optimisation.
const STACK: usize = 256 * 1024;

/// Steps after which an interleaving counts as endless. The longest model needs some hundred.
const STEPS: usize = 20_000;

thread_local! {
    static TIME_OUTS: Cell<bool> = const { Cell::new(false) };
}

/// Lets waits with a limit time out at any moment, or no more. It hides lost wake-ups, so few models need it.
pub fn let_waits_time_out(yes: bool) {
    TIME_OUTS.set(yes);
}

pub(crate) fn waits_may_time_out() -> bool {
    TIME_OUTS.get()
}

/// A random decision, which a schedule repeats.
pub fn coin() -> bool {
    thread_rng().r#gen()
}

/// Checks a model, and then that it finds each planted fault: a name in the code, and what is wrong with it.
///
/// # Panics
/// When an interleaving fails, with the text that repeats it, and when a planted fault is not found.
pub fn check(name: &str, faults: &[(&'static str, &str)], model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    if let Ok(schedule) = env::var("MODEL_SCHEDULE") {
        return shuttle::replay(move || model(), &schedule);
    }
    let runs = number("MODEL_RUNS", RUNS);
    let found = search(&model, runs, FailurePersistence::Print);
    if let Some(Found { run, said }) = found {
        panic!(
            "{name}: interleaving {run} fails: {said}; repeat it with MODEL_SCHEDULE=... and the name of the test"
        );
    }
    println!("model {name}: {runs} interleavings of each scheduler, no fault");
    for (fault, what) in faults {
        activate(fault);
        let found = search(&model, runs, FailurePersistence::None);
        activate("");
        let Some(Found { run, said }) = found else {
            panic!("{name}: the planted fault `{fault}` ({what}) was not found in {runs} interleavings");
        };
        println!("| {name} | `{fault}`: {what} | {run} | {} |", short(&said));
    }
}

/// A failure: in which interleaving, and what it said.
struct Found {
    run: usize,
    said: String,
}

fn search<M: Fn() + Send + Sync + 'static>(
    model: &Arc<M>,
    runs: usize,
    persistence: FailurePersistence,
) -> Option<Found> {
    let seed = number("MODEL_SEED", SEED);
    let begun = Arc::new(AtomicUsize::new(0));
    let random = RandomScheduler::new_from_seed(seed, runs);
    run(random, model, &begun, persistence.clone())
        .or_else(|| run(PctScheduler::new_from_seed(seed, DEPTH, runs), model, &begun, persistence))
}

fn run<M: Fn() + Send + Sync + 'static>(
    scheduler: impl Scheduler + 'static,
    model: &Arc<M>,
    begun: &Arc<AtomicUsize>,
    persistence: FailurePersistence,
) -> Option<Found> {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.failure_persistence = persistence;
    // Memory is that of the machine with the model: every value is seen in the order of the steps.
    config.silence_warnings = true;
    let (model, counted) = (Arc::clone(model), Arc::clone(begun));
    let body = move || {
        counted.fetch_add(1, Relaxed);
        model();
    };
    let runner = Runner::new(scheduler, config);
    let panic = catch_unwind(AssertUnwindSafe(|| runner.run(body))).err()?;
    let_waits_time_out(false);
    Some(Found { run: begun.load(Relaxed), said: text_of(&*panic) })
}

fn number<T: std::str::FromStr>(variable: &str, default: T) -> T {
    env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// For a row of a table: what was said, without the values that an assertion compared, and without the list of threads.
fn short(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    let text = line.split_once(" failed: ").map_or(line, |(_, text)| text);
    let text: String = text
        .split(['[', '?', '.'])
        .next()
        .unwrap_or_default()
        .trim_end_matches([':', ' '])
        .chars()
        .take(100)
        .collect();
    text.replace('|', "/")
}
