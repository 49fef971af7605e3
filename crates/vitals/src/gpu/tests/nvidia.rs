use std::fs;

use super::fake::*;
use super::tree::*;
use crate::gpu::*;

macro_rules! fake {
    ($gpus:expr) => {
        match Fake::with_gpus($gpus) {
            Some(fake) => fake,
            None => return,
        }
    };
}

/// `count` and what that many usual GPUs say.
fn usual_gpus(count: u8) -> String {
    format!("count {count}\n{}", (0..count).map(usual).collect::<String>())
}

#[test]
fn what_nvml_says_is_what_is_reported() {
    let (fake, _devices) = fake!(2);
    fake.says(&usual_gpus(2));
    let gpus = fake.gpus();
    let wanted = |number: u8| Gpu {
        vendor: Vendor::Nvidia,
        name: Some(format!("NVIDIA Test {number}")),
        pci_address: format!("0000:0{}:00.0", number + 1),
        device_id: Some(0x2684),
        usage: Some(0.3),
        usage_is_estimate: false,
        temperature_celsius: Some(f64::from(40 + number)),
        vram_used_bytes: Some(1_000_000_000),
        vram_total_bytes: Some(4_000_000_000),
        power_watts: Some(f64::from(123_450 + u32::from(number)) / 1000.0),
        status: Status::Ok,
    };
    assert_eq!(gpus, [wanted(0), wanted(1)]);
    assert_eq!(gpus[0].vram_usage(), Some(0.25), "not the memory controller's load, which is 77 %");
    assert_eq!(fake.calls("init"), 1, "opened once for both");
}

#[test]
fn a_host_without_nvidias_gpus_never_opens_the_library() {
    let (fake, _none) = fake!(0);
    fake.says("count 0\n");
    fake.tree.gpu("0000:03:00.0", AMD);
    assert_eq!(fake.gpus().len(), 1);
    assert!(!fake.was_opened());
}

#[test]
fn usage_is_the_mean_of_the_samples_since_the_last_look() {
    let (fake, _devices) = fake!(1);
    let mut reader = fake.reader();
    let mut usage = |samples: &str| {
        fake.says(&usual_gpus(1).replace("100:20 200:40", samples));
        reader.read(Instant::now())[0].usage
    };
    assert_eq!(usage("0:0 100:20 200:40"), Some(0.3), "one was never filled");
    assert_eq!(usage("100:20 200:40 300:60 400:80"), Some(0.7));
    assert_eq!(usage("400:80 500:0"), Some(0.0));
    assert_eq!(usage("500:0"), Some(0.5), "none is new: NVML's own figure");
    assert_eq!(usage("10:90 20:70"), Some(0.5), "the clock was set back: no telling which are new");
    assert_eq!(usage("20:70 30:10"), Some(0.1), "from there on again");
    assert_eq!(usage("40:1000 50:30"), Some(0.3), "1000 % is no sample");
}

#[test]
fn without_samples_usage_is_nvmls_own_figure() {
    let (fake, _devices) = fake!(1);
    for samples in ["!3", "!6", "!999"] {
        fake.says(&usual_gpus(1).replace("100:20 200:40", samples));
        assert_eq!(fake.gpus()[0].usage, Some(0.5), "{samples}");
    }
    fake.says(
        &usual_gpus(1).replace("100:20 200:40", "!3").replace("utilization 50", "utilization 4294967295"),
    );
    assert_eq!(fake.gpus()[0].usage, None, "no figure that cannot be true");
}

#[test]
fn what_a_gpu_does_not_support_is_unknown_and_costs_nothing_else() {
    type Field = (&'static [&'static str], fn(&Gpu) -> bool);
    let fields: &[Field] = &[
        (&["name"], |gpu| gpu.name.is_some()),
        // Split for virtual machines or into instances (MIG), it has neither.
        (&["samples", "utilization"], |gpu| gpu.usage.is_some()),
        (&["temperature"], |gpu| gpu.temperature_celsius.is_some()),
        (&["total"], |gpu| gpu.vram_used_bytes.is_some() || gpu.vram_total_bytes.is_some()),
        (&["power"], |gpu| gpu.power_watts.is_some()),
    ];
    let (fake, _devices) = fake!(1);
    // Not supported; no permission; no data; an error that is newer than this program.
    for code in [3, 4, 21, 999] {
        for (lost, _) in fields {
            let mut lines = usual_gpus(1);
            for key in *lost {
                let from = lines.find(&format!("0.{key} ")).unwrap();
                let to = from + lines[from..].find('\n').unwrap();
                lines.replace_range(from..to, &format!("0.{key} !{code}"));
            }
            fake.says(&lines);
            let gpu = &fake.gpus()[0];
            assert_eq!(gpu.status, Status::Ok, "{lost:?} {code}");
            for (field, known) in fields {
                assert_eq!(known(gpu), field != lost, "{field:?} when {lost:?} is {code}: {gpu:?}");
            }
        }
    }
}

#[test]
fn a_gpu_that_refuses_everything_is_not_called_ok() {
    let (fake, _devices) = fake!(1);
    let refused = ["name", "samples", "utilization", "temperature", "total", "power"];
    let lines: String = refused.map(|key| format!("0.{key} !4\n")).concat();
    fake.says(&format!("count 1\n0.bus 00000000:01:00.0\n{lines}"));
    let gpus = fake.gpus();
    assert_eq!(gpus[0].status, Status::NoPermission);
    assert_no_reading(&gpus[0]);
}

#[test]
fn a_lost_gpu_is_said_to_be_lost_once_and_the_other_is_read_on() {
    let (fake, _devices) = fake!(2);
    let mut reader = fake.reader();
    fake.says(&usual_gpus(2));
    assert_eq!(reader.read(Instant::now())[1].status, Status::Ok);
    // In the middle of its values; at all.
    for lost in
        [usual_gpus(2).replace("1.power 123451", "1.power !15"), format!("{}1.handle !15\n", usual_gpus(2))]
    {
        fake.says(&lost);
        let gpus = reader.read(Instant::now());
        assert_eq!([gpus[0].status, gpus[1].status], [Status::Ok, Status::Lost]);
        assert!(gpus[0].usage.is_some());
        assert_no_reading(&gpus[1]);
        assert_eq!(gpus[1].name.as_deref(), Some("NVIDIA Test 1"), "its name is still known");
    }
    let hints = reader.take_hints();
    assert_eq!(hints.len(), 1, "{hints:?}");
    assert_eq!((hints[0].pci_address.as_str(), hints[0].status), ("0000:02:00.0", Status::Lost));
    fake.says(&usual_gpus(2));
    assert_eq!(reader.read(Instant::now())[1].status, Status::Ok, "it came back");
}

#[test]
fn errors_on_opening_are_told_apart_and_said_once() {
    for (code, status, word) in [
        (18, Status::Mismatch, "reboot"),
        (9, Status::NoDriver, "driver"),
        (4, Status::NoPermission, "/dev/nvidia"),
        (15, Status::Lost, "bus"),
        (999, Status::Failed, "internal driver error"),
    ] {
        let (fake, _devices) = fake!(1);
        fake.says(&format!("init {code}\n{}", usual_gpus(1)));
        let mut reader = fake.reader();
        for _ in 0..3 {
            let gpus = reader.read(Instant::now());
            assert_eq!(gpus[0].status, status);
            assert_no_reading(&gpus[0]);
        }
        let hints = reader.take_hints();
        assert_eq!(hints.len(), 1, "{hints:?}");
        assert!(hints[0].text.contains(word), "{hints:?}");
        assert_eq!(fake.calls("init"), 1, "the kernel logs each attempt, so it is not repeated at each look");
    }
}

#[test]
fn a_driver_replaced_below_the_open_library_is_a_mismatch() {
    let (fake, _devices) = fake!(1);
    fake.says(&usual_gpus(1));
    let mut reader = fake.reader();
    assert_eq!(reader.read(Instant::now())[0].status, Status::Ok);
    fake.says(&format!("init 18\n{}0.handle !18\n", usual_gpus(1)));
    assert_eq!(reader.read(Instant::now())[0].status, Status::Mismatch);
    assert_eq!(reader.read(Instant::now())[0].status, Status::Mismatch);
    assert_eq!([fake.calls("init"), fake.calls("shutdown")], [2, 1], "closed, and tried anew");
}

#[test]
fn a_gpu_that_nvml_does_not_know_has_failed() {
    let (fake, _devices) = fake!(2);
    fake.says(&usual_gpus(1));
    let mut reader = fake.reader();
    let gpus = reader.read(Instant::now());
    assert_eq!([gpus[0].status, gpus[1].status], [Status::Ok, Status::Failed]);
    assert_eq!(reader.read(Instant::now())[0].status, Status::Ok);
    assert_eq!(fake.calls("shutdown"), 0, "which is no reason to close the library");
}

#[test]
fn no_library_is_normal() {
    let (fake, _devices) = fake!(1);
    let path = fake.folder.join("libnvidia-ml.so.1");
    fs::write(&path, "not a library").unwrap();
    let garbage = fake.gpus();
    fs::remove_file(&path).unwrap();
    let mut reader = fake.reader();
    for gpus in [garbage, reader.read(Instant::now())] {
        assert_eq!(gpus[0].status, Status::NoLibrary);
        assert_no_reading(&gpus[0]);
    }
    let hints = reader.take_hints();
    assert!(hints[0].text.contains("libnvidia-ml.so.1"), "{hints:?}");
}

#[test]
fn the_first_library_that_can_be_opened_is_asked() {
    let (fake, _devices) = fake!(1);
    fake.says(&usual_gpus(1));
    let mut sources = fake.sources();
    sources.nvml.insert(0, "/nonexistent/libnvidia-ml.so.1".into());
    sources.nvml.push("/nonexistent/too/libnvidia-ml.so.1".into());
    assert_eq!(fake.tree.reader_with(&sources).read(Instant::now())[0].status, Status::Ok);
}

#[test]
fn a_library_too_old_for_a_function_leaves_its_value_out() {
    let (fake, _devices) = fake!(1);
    fake.says(&usual_gpus(1));
    fake.make_old();
    let gpu = &fake.gpus()[0];
    assert_eq!((gpu.status, gpu.usage), (Status::Ok, Some(0.3)));
    assert_eq!((gpu.vram_used_bytes, gpu.vram_total_bytes), (None, None));
}

#[test]
fn while_all_gpus_sleep_the_library_is_not_opened() {
    let (fake, devices) = fake!(2);
    fake.says(&usual_gpus(2));
    for device in &devices {
        device.suspended();
    }
    let mut reader = fake.reader();
    for _ in 0..3 {
        for gpu in reader.read(Instant::now()) {
            assert_eq!((gpu.status, gpu.name.as_ref()), (Status::Suspended, None));
            assert_no_reading(&gpu);
        }
    }
    assert!(!fake.was_opened());
    assert_eq!(reader.take_hints(), []);
}

#[test]
fn one_gpu_is_asked_without_waking_the_other() {
    let (fake, devices) = fake!(2);
    fake.says(&usual_gpus(2));
    devices[1].suspended();
    let gpus = fake.gpus();
    assert_eq!([gpus[0].status, gpus[1].status], [Status::Ok, Status::Suspended]);
    assert_eq!([fake.calls("init"), fake.calls("init_no_attach")], [0, 1], "opening it attaches none");
    assert_eq!([fake.calls("handle 0000:01:00.0"), fake.calls("handle 0000:02:00.0")], [1, 0]);
}

#[test]
fn the_library_is_closed_when_a_gpu_is_to_rest() {
    let (fake, devices) = fake!(2);
    for device in &devices {
        device.awake();
    }
    let idle =
        |number: u8| usual(number).replace("100:20 200:40", "!6").replace("utilization 50", "utilization 0");
    fake.says(&format!("count 2\n{}{}", usual(0).replace("100:20 200:40", "!6"), idle(1)));
    let mut reader = fake.reader();
    let start = Instant::now();
    let mut status = |second| {
        let gpus = reader.read(start + Duration::from_secs(second));
        [gpus[0].status, gpus[1].status]
    };
    assert_eq!([status(0), status(10)], [[Status::Ok; 2]; 2]);
    assert_eq!(status(15), [Status::Ok, Status::Resting]);
    assert_eq!(
        [fake.calls("shutdown"), fake.calls("init_no_attach")],
        [1, 1],
        "opened anew for the busy one"
    );
    assert_eq!(fake.calls("handle 0000:02:00.0"), 2);
    fake.says(&format!("count 2\n{}{}", idle(0), idle(1)));
    assert_eq!([status(20), status(30)], [[Status::Ok, Status::Resting]; 2]);
    assert_eq!(status(35), [Status::Resting; 2]);
    wait_for("the library to be closed", || fake.calls("shutdown") == 2);
    assert_eq!(status(38), [Status::Resting; 2]);
    assert_eq!(fake.calls("init") + fake.calls("init_no_attach"), 2, "and it stays closed");
    assert_eq!(status(65), [Status::Ok, Status::Ok], "until the rest is over");
}

#[test]
fn a_driver_that_hangs_costs_its_own_gpus_only_and_is_counted_once() {
    for call in ["power", "init"] {
        let (fake, _devices) = fake!(1);
        fake.tree.gpu("0000:03:00.0", AMD).write("gpu_busy_percent", "42");
        fake.says(&format!("hang {call}\n{}", usual_gpus(1)));
        let mut reader = fake.reader();
        let timeout = Duration::from_millis(500);
        reader.set_timeout(timeout, MAX_AGE);
        let mut waited = Duration::ZERO;
        for round in 0..5 {
            let begun = Instant::now();
            let gpus = reader.read(Instant::now());
            assert_eq!([gpus[0].status, gpus[1].status], [Status::NoAnswer, Status::Ok], "{call} {round}");
            assert_no_reading(&gpus[0]);
            assert_eq!(gpus[1].usage, Some(0.42));
            assert_eq!(reader.unanswered(), 1, "it is one question that has no answer");
            waited += begun.elapsed();
        }
        assert!(waited >= timeout && waited < timeout * 2, "only the first look waits: {waited:?}");
        assert_eq!(fake.calls(call), 1, "no second question joins the first");
        fake.says(&usual_gpus(1));
        wait_for("the driver to come back", || reader.read(Instant::now())[0].status == Status::Ok);
        assert_eq!((reader.unanswered(), reader.take_hints().len()), (1, 1));
    }
}

#[test]
fn what_comes_back_after_a_long_hang_is_not_reported_as_new() {
    let (fake, _devices) = fake!(1);
    // It hangs when the temperature has been read already.
    fake.says(&format!("hang power\n{}", usual_gpus(1)));
    let mut reader = fake.reader();
    let max_age = Duration::from_millis(100);
    reader.set_timeout(Duration::from_millis(20), max_age);
    assert_eq!(reader.read(Instant::now())[0].status, Status::NoAnswer);
    std::thread::sleep(max_age * 2);
    fake.says(&usual_gpus(1).replace("temperature 40", "temperature 80"));
    let mut seen = None;
    wait_for("an answer", || {
        seen = reader.read(Instant::now())[0].temperature_celsius;
        seen.is_some()
    });
    assert_eq!(seen, Some(80.0));
}

#[test]
fn a_driver_that_hangs_does_not_keep_anybody_from_ending() {
    let (fake, _devices) = fake!(1);
    fake.says(&format!("hang power\n{}", usual_gpus(1)));
    let mut reader = fake.reader();
    reader.set_timeout(Duration::from_millis(50), MAX_AGE);
    let begun = Instant::now();
    let handle = spawn_with(reader, Duration::ZERO);
    wait_for("a snapshot without an answer", || handle.timeouts() == 1);
    assert_eq!(handle.at(SystemTime::now()).unwrap()[0].status, Status::NoAnswer);
    drop(handle);
    assert!(begun.elapsed() < Duration::from_secs(10));
    fake.says("");
}

#[test]
fn gpus_of_wsl_are_read_although_no_bus_has_them() {
    let (fake, _none) = fake!(0);
    fake.says(&usual_gpus(2));
    let sources = Sources { wsl: fake.folder.join("libnvidia-ml.so.1"), ..fake.sources() };
    let gpus = fake.tree.reader_with(&sources).read(Instant::now());
    let found: Vec<_> = gpus.iter().map(|gpu| (gpu.pci_address.as_str(), gpu.usage, gpu.device_id)).collect();
    assert_eq!(found, [("0000:01:00.0", Some(0.3), None), ("0000:02:00.0", Some(0.3), None)]);
    assert_eq!(fake.gpus(), [], "not where WSL is not");
}

#[test]
fn names_are_kept_while_a_gpu_sleeps() {
    let (fake, devices) = fake!(1);
    fake.says(&usual_gpus(1));
    let mut reader = fake.reader();
    reader.read(Instant::now());
    devices[0].suspended();
    let gpus = reader.read(Instant::now());
    assert_eq!((gpus[0].status, gpus[0].name.as_deref()), (Status::Suspended, Some("NVIDIA Test 0")));
    assert_no_reading(&gpus[0]);
    wait_for("the library to be closed", || fake.calls("shutdown") == 1);
}
