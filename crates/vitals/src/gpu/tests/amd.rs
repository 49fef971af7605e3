use rustix::io::Errno;

use super::tree::*;
use crate::gpu::*;

/// A card with all that amdgpu shows.
fn full(tree: &Tree, address: &str) -> Device {
    let device = tree.gpu(address, AMD);
    device
        .write("gpu_busy_percent", "42\n")
        .write("mem_info_vram_used", "3221225472\n")
        .write("mem_info_vram_total", "17163091968\n")
        .write("product_name", "AMD Radeon PRO W7900\n")
        .write("hwmon/hwmon7/name", "amdgpu\n")
        .write("hwmon/hwmon7/temp1_input", "61000\n")
        .write("hwmon/hwmon7/temp1_label", "edge\n")
        .write("hwmon/hwmon7/temp2_input", "74000\n")
        .write("hwmon/hwmon7/temp2_label", "junction\n")
        .write("hwmon/hwmon7/temp3_input", "80000\n")
        .write("hwmon/hwmon7/temp3_label", "mem\n")
        .write("hwmon/hwmon7/power1_average", "123456789\n")
        .write("hwmon/hwmon7/power1_label", "PPT\n");
    device
}

#[test]
fn what_amdgpu_shows_is_what_is_reported() {
    let tree = Tree::new();
    full(&tree, "0000:03:00.0");
    let gpu = tree.only();
    let wanted = Gpu {
        vendor: Vendor::Amd,
        name: Some("AMD Radeon PRO W7900".to_owned()),
        pci_address: "0000:03:00.0".to_owned(),
        device_id: Some(0x2684),
        usage: Some(0.42),
        usage_is_estimate: false,
        temperature_celsius: Some(61.0),
        vram_used_bytes: Some(3_221_225_472),
        vram_total_bytes: Some(17_163_091_968),
        power_watts: Some(123.456_789),
        status: Status::Ok,
    };
    assert_eq!(gpu, wanted);
    let share = gpu.vram_usage().unwrap();
    assert!((share - 0.187_683).abs() < 1e-6, "{share}");
}

/// Each file and what it alone decides about.
type Field = (&'static str, fn(&Gpu) -> bool);
const FIELDS: &[Field] = &[
    ("gpu_busy_percent", |gpu| gpu.usage.is_some()),
    ("mem_info_vram_used", |gpu| gpu.vram_used_bytes.is_some()),
    ("mem_info_vram_total", |gpu| gpu.vram_total_bytes.is_some()),
    ("hwmon/hwmon7/temp1_input", |gpu| gpu.temperature_celsius.is_some()),
    ("hwmon/hwmon7/power1_average", |gpu| gpu.power_watts.is_some()),
];

#[track_caller]
fn assert_only_this_is_unknown(gpu: &Gpu, lost: &str, why: &str) {
    assert_eq!(gpu.status, Status::Ok, "{lost}: {why}");
    for (file, known) in FIELDS {
        assert_eq!(known(gpu), *file != lost, "{file} when {lost} is {why}: {gpu:?}");
    }
}

#[test]
fn what_the_driver_refuses_is_unknown_and_never_0() {
    for (file, _) in FIELDS {
        for errno in [Errno::BUSY, Errno::OPNOTSUPP, Errno::INVAL, Errno::PERM, Errno::ACCESS, Errno::IO] {
            let tree = Tree::new();
            full(&tree, "0000:03:00.0");
            tree.fail(file, errno);
            assert_only_this_is_unknown(&tree.only(), file, &format!("{errno:?}"));
        }
    }
}

#[test]
fn garbage_in_a_file_is_unknown_and_costs_nothing_else() {
    for (file, _) in FIELDS {
        let garbage: &[&[u8]] = &[
            b"",
            b"\n",
            b"x",
            b"1 2",
            b"0x10",
            b"1e3",
            b"\xff",
            b"99999999999999999999999",
            b"12.5",
            b"N/A",
        ];
        for content in garbage {
            let tree = Tree::new();
            full(&tree, "0000:03:00.0").write(file, content);
            assert_only_this_is_unknown(&tree.only(), file, &format!("{content:?}"));
        }
    }
}

#[test]
fn a_file_that_is_odd_is_named_and_a_driver_that_has_no_value_is_not() {
    let named = |tree: &Tree| -> Vec<String> {
        let mut reader = tree.reader();
        reader.read(Instant::now());
        reader
            .faults()
            .now()
            .iter()
            .map(|fault| fault.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    for (file, _) in FIELDS {
        let name = file.rsplit('/').next().unwrap();
        for (errno, noted) in
            [(Errno::BUSY, false), (Errno::OPNOTSUPP, false), (Errno::NODATA, false), (Errno::IO, true)]
        {
            let tree = Tree::new();
            full(&tree, "0000:03:00.0");
            assert!(named(&tree).is_empty());
            tree.fail(file, errno);
            let wanted = if noted { vec![name] } else { vec![] };
            assert_eq!(named(&tree), wanted, "{file} {errno:?}");
        }
        for garbage in [&b"12.5"[..], b"\xff"] {
            let tree = Tree::new();
            full(&tree, "0000:03:00.0").write(file, garbage);
            assert_eq!(named(&tree), [name], "{file} {garbage:?}");
        }
    }
}

#[test]
fn a_sensor_that_is_broken_or_has_no_known_label_gives_no_value() {
    let tree = Tree::new();
    let device = full(&tree, "0000:03:00.0");
    device.write("hwmon/hwmon7/temp1_fault", "1\n");
    assert_only_this_is_unknown(&tree.only(), "hwmon/hwmon7/temp1_input", "broken");
    device.write("hwmon/hwmon7/temp1_fault", "0\n");
    assert_eq!(tree.only().temperature_celsius, Some(61.0));
    // It may be that of the memory.
    device.remove("hwmon/hwmon7/temp2_input").remove("hwmon/hwmon7/temp3_input");
    tree.fail("hwmon/hwmon7/temp1_label", Errno::IO);
    assert_only_this_is_unknown(&tree.only(), "hwmon/hwmon7/temp1_input", "without a label that can be read");
}

#[test]
fn what_cannot_be_true_is_unknown() {
    for (file, content) in [
        ("gpu_busy_percent", "101"),
        ("gpu_busy_percent", "255"),
        ("gpu_busy_percent", "-1"),
        ("mem_info_vram_used", "17163091969"),
        ("mem_info_vram_total", "0"),
        ("hwmon/hwmon7/temp1_input", "511000"),
        ("hwmon/hwmon7/temp1_input", "-273000"),
        ("hwmon/hwmon7/power1_average", "-1"),
    ] {
        let tree = Tree::new();
        full(&tree, "0000:03:00.0").write(file, content);
        assert_only_this_is_unknown(&tree.only(), file, content);
    }
}

#[test]
fn a_value_of_0_is_a_value() {
    let tree = Tree::new();
    full(&tree, "0000:03:00.0").write("gpu_busy_percent", "0\n").write("mem_info_vram_used", "0\n");
    let gpu = tree.only();
    assert_eq!((gpu.usage, gpu.vram_used_bytes, gpu.vram_usage()), (Some(0.0), Some(0), Some(0.0)));
}

#[test]
fn the_memorys_temperature_is_not_the_chips() {
    let tree = Tree::new();
    let device = full(&tree, "0000:03:00.0");
    device.remove("hwmon/hwmon7/temp1_input");
    assert_eq!(tree.only().temperature_celsius, Some(74.0), "the hottest point, where there is no edge");
    device.remove("hwmon/hwmon7/temp2_input");
    assert_eq!(tree.only().temperature_celsius, None);
    device.write("hwmon/hwmon7/temp4_input", "50500");
    assert_eq!(tree.only().temperature_celsius, Some(50.5), "one without a label");
}

#[test]
fn power_is_the_mean_or_else_the_newest_value() {
    let tree = Tree::new();
    let device = full(&tree, "0000:03:00.0");
    device.write("hwmon/hwmon7/power1_input", "99000000");
    assert_eq!(tree.only().power_watts, Some(123.456_789));
    device.remove("hwmon/hwmon7/power1_average");
    assert_eq!(tree.only().power_watts, Some(99.0));
}

#[test]
fn a_gpu_that_sleeps_is_not_asked_anything() {
    for state in ["suspended\n", "suspending\n"] {
        let tree = Tree::new();
        full(&tree, "0000:03:00.0").suspended().write("power/runtime_status", state);
        let gpu = tree.only();
        assert_eq!(gpu.status, Status::Suspended);
        assert_no_reading(&gpu);
        let read = tree.take_read();
        let of_the_bus = ["vendor", "class", "device", "runtime_status", "control"];
        assert!(read.iter().all(|name| of_the_bus.contains(&name.as_str())), "{read:?}");
    }
}

#[test]
fn a_kernel_without_power_management_has_no_gpu_that_sleeps() {
    let tree = Tree::new();
    let device = full(&tree, "0000:03:00.0");
    device.write("power/runtime_status", "unsupported\n");
    assert_eq!(tree.only().usage, Some(0.42));
    device.remove("power/runtime_status").remove("power/control");
    assert_eq!(tree.only().usage, Some(0.42));
}

#[test]
fn a_gpu_that_fell_off_the_bus_is_lost_and_said_so_once() {
    let tree = Tree::new();
    full(&tree, "0000:03:00.0");
    tree.fail("gpu_busy_percent", Errno::NODEV);
    let mut reader = tree.reader();
    for round in 0..3 {
        let gpus = reader.read(Instant::now());
        assert_eq!(gpus[0].status, Status::Lost);
        assert_no_reading(&gpus[0]);
        let hints = reader.take_hints();
        assert_eq!(hints.len(), usize::from(round == 0), "{hints:?}");
    }
    tree.heal();
    assert_eq!(reader.read(Instant::now())[0].status, Status::Ok);
}

#[test]
fn two_cards_are_kept_apart() {
    let tree = Tree::new();
    full(&tree, "0000:03:00.0");
    full(&tree, "0000:0a:00.0")
        .write("gpu_busy_percent", "7")
        .write("mem_info_vram_total", "536870912")
        .write("mem_info_vram_used", "1048576")
        .remove("hwmon/hwmon7/temp1_input")
        .remove("hwmon/hwmon7/temp2_input");
    tree.fail("0000:03:00.0/hwmon/hwmon7/power1_average", Errno::BUSY);
    let gpus = tree.gpus();
    assert_eq!([gpus[0].usage, gpus[1].usage], [Some(0.42), Some(0.07)]);
    assert_eq!([gpus[0].temperature_celsius, gpus[1].temperature_celsius], [Some(61.0), None]);
    assert_eq!([gpus[0].power_watts, gpus[1].power_watts], [None, Some(123.456_789)]);
    assert_eq!(gpus[1].vram_usage(), Some(1.0 / 512.0));
}
