//! Conversations about the numbers of lines.

use serde_json::json;

use super::rows::Row;
use super::say::{beat_with, changed, gap};
use super::{Answer, Ask, Connect, Rule, Say, Step, beat, job_line, job_status, register};

pub(super) fn rows() -> Vec<Row> {
    let lines = |steps: Vec<String>| -> Vec<Step> {
        [Ask("test")].into_iter().chain(steps.into_iter().map(Say)).collect()
    };
    let numbered = |numbers: &[u64]| -> Vec<String> {
        numbers.iter().map(|&number| job_line("test", "j", number)).collect()
    };
    let ended = |count: u64, dropped: u64| {
        changed(&job_status("test", "j"), json!({"lines": count, "dropped_lines": dropped}))
    };
    // Lines 1 to 3, a new connection, and more lines.
    let reconnected = |more: Vec<String>| {
        let before = lines(numbered(&[1, 2, 3]));
        let between = [Connect, Say(register()), Answer, Say(beat())];
        before.into_iter().chain(between).chain(more.into_iter().map(Say)).collect::<Vec<_>>()
    };
    // Another dashboard asked for it.
    let inherited = |steps: Vec<String>| {
        let running = beat_with(json!({"pending_command": "test", "command_pid": 7}));
        [running].into_iter().chain(steps).map(Say).collect::<Vec<_>>()
    };
    vec![
        (Rule::LineNumbers, lines(numbered(&[1, 2, 3])), lines(numbered(&[1, 2, 4]))),
        (Rule::LineNumbers, lines(numbered(&[1])), lines(numbered(&[2]))),
        (Rule::LineNumbers, lines(numbered(&[1])), lines(numbered(&[0]))),
        (Rule::LineNumbers, lines(numbered(&[1, 2])), lines(numbered(&[1, 1]))),
        (
            Rule::LineNumbers,
            lines([numbered(&[1]), vec![gap("test", "j", 8, 7)], numbered(&[9])].concat()),
            lines([numbered(&[1]), vec![gap("test", "j", 9, 7)], numbered(&[10])].concat()),
        ),
        (Rule::LineNumbers, reconnected(numbered(&[2, 3, 4])), reconnected(numbered(&[5]))),
        (Rule::LineNumbers, reconnected(numbered(&[4])), reconnected(numbered(&[2, 4]))),
        (
            Rule::LineNumbers,
            reconnected(vec![gap("test", "j", 8, 6), job_line("test", "j", 9)]),
            reconnected(vec![gap("test", "j", 8, 4)]),
        ),
        (Rule::LineNumbers, inherited(numbered(&[7, 8])), inherited(numbered(&[7, 9]))),
        (
            Rule::LineNumbers,
            lines([numbered(&[1, 2]), vec![ended(2, 0)]].concat()),
            lines([numbered(&[1, 2]), vec![ended(3, 0)]].concat()),
        ),
        (Rule::LineNumbers, lines(vec![ended(0, 0)]), lines(vec![ended(2, 0)])),
        (
            Rule::LineNumbers,
            lines(vec![gap("test", "j", 2, 2), ended(2, 2)]),
            lines(vec![gap("test", "j", 2, 2), ended(2, 3)]),
        ),
        (
            Rule::LineNumbers,
            inherited(vec![ended(9, 0)]),
            inherited(vec![job_line("test", "j", 8), ended(9, 0)]),
        ),
    ]
}
