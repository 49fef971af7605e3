//! A line of the process that has NVIDIA's library.

use nixfleet_vitals::gpu::{self, Gpu, Status};

use crate::terminal_text::unsafe_in_line;

/// Longest name of a GPU, in characters.
const MAX_NAME: usize = 96;

/// The GPUs that are asked for.
const ASKED: [&str; 2] = ["0000:01:00.0", "10000:c1:00.0"];

/// A line is an answer as a whole or not at all. Each value is in its field of the line and one that a GPU can have,
/// and only the GPUs that were asked for have any.
pub fn gpu_answer(data: &[u8]) {
    let Some(answer) = gpu::answer(data, ASKED.map(str::to_owned).into()) else { return };
    let said = std::str::from_utf8(data).expect("a line of text");
    let mut fields = said.trim_end_matches('\n').split('\t');
    assert_eq!(fields.next().and_then(|number| number.parse().ok()), Some(1));
    let kind = fields.next();
    let gpus = match answer {
        Ok(gpus) => gpus,
        Err(status) => {
            assert_eq!((kind, fields.next()), (Some("failed"), Some(status.as_str())));
            return assert!(status != Status::Ok, "no failure");
        }
    };
    assert_eq!(kind, Some("read"));
    for gpu in gpus {
        assert_eq!(fields.next(), Some(gpu.pci_address.as_str()));
        assert!(ASKED.contains(&gpu.pci_address.as_str()), "{gpu:?}");
        assert_eq!(fields.next(), Some(gpu.status.as_str()));
        if gpu.status == Status::Ok {
            is_of(&gpu, std::array::from_fn(|_| fields.next().expect("a field for each value")));
        } else {
            assert!(fields.next().is_some() && gpu.name.is_none() && gpu.usage.is_none(), "{gpu:?}");
        }
    }
    assert_eq!(fields.next(), None, "something is left out");
}

fn is_of(gpu: &Gpu, [name, usage, celsius, used, total, watts]: [&str; 6]) {
    let shown = gpu.name.as_deref().unwrap_or_default();
    assert!(!shown.contains(unsafe_in_line) && shown.chars().count() <= MAX_NAME, "{shown:?}");
    if name.len() <= MAX_NAME && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        assert_eq!(shown, name);
    }
    for (value, field, possible) in [
        (gpu.usage, usage, 0.0..=1.0),
        (gpu.temperature_celsius, celsius, -50.0..=200.0),
        (gpu.power_watts, watts, 0.0..=10_000.0),
    ] {
        let wanted = field.parse().ok().filter(|number| possible.contains(number));
        assert_eq!(value, wanted, "{field:?}");
    }
    assert_eq!(gpu.vram_total_bytes, total.parse().ok().filter(|total| *total > 0));
    match gpu.vram_used_bytes {
        Some(bytes) => {
            assert_eq!(used.parse(), Ok(bytes));
            assert!(gpu.vram_total_bytes.is_none_or(|total| bytes <= total), "{gpu:?}");
        }
        None => assert!(used.is_empty() || gpu.vram_total_bytes.is_some(), "{used:?}"),
    }
}
