use std::{fs, process::Command};

use super::tree::*;
use crate::gpu::card::normal_address;
use crate::gpu::reader::Gpus;
use crate::gpu::*;

#[test]
fn a_host_without_gpus_has_an_empty_list() {
    assert_eq!(Tree::new().gpus(), []);
    let nowhere = Sources { sys: "/nonexistent".into(), ..Tree::new().sources() };
    assert_eq!(Gpus::new(&nowhere).read(Instant::now()), []);
}

#[test]
fn gpus_are_listed_by_address_with_vendor_and_model() {
    let tree = Tree::new();
    tree.gpu("0000:65:00.0", AMD).write("device", "0x744c\n");
    tree.gpu("0000:00:02.0", INTEL).write("device", "garbage\n");
    tree.gpu("10000:01:00.0", INTEL);
    tree.gpu("0000:01:00.0", NVIDIA);
    let found: Vec<_> =
        tree.gpus().into_iter().map(|gpu| (gpu.pci_address, gpu.vendor, gpu.device_id)).collect();
    let wanted = [
        ("0000:00:02.0".to_owned(), Vendor::Intel, None),
        ("0000:01:00.0".to_owned(), Vendor::Nvidia, Some(0x2684)),
        ("0000:65:00.0".to_owned(), Vendor::Amd, Some(0x744c)),
        ("10000:01:00.0".to_owned(), Vendor::Intel, Some(0x2684)),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn what_is_no_gpu_is_not_listed() {
    let tree = Tree::new();
    let gpu = tree.gpu("0000:01:00.0", AMD);
    fs::create_dir(tree.path().join("class/drm/card0-DP-1")).unwrap();
    fs::create_dir(tree.path().join("class/drm/renderD128")).unwrap();
    tree.device("0000:01:00.1", AMD, "0x040300\n");
    tree.device("0000:00:0b.0", INTEL, "0x120000\n");
    tree.device("0000:02:00.0", "0x102b\n", "0x030000\n");
    tree.gpu("0000:03:00.0", NVIDIA).write("physfn/vendor", NVIDIA);
    let found = tree.gpus();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(gpu.0.ends_with(&found[0].pci_address));
}

#[test]
fn an_accelerator_of_amds_is_a_gpu() {
    let tree = Tree::new();
    tree.device("0000:01:00.0", AMD, "0x120000\n").driver("amdgpu").write("gpu_busy_percent", "93\n");
    assert_eq!(tree.only().usage, Some(0.93));
}

#[test]
fn garbage_on_the_bus_is_no_gpu() {
    let tree = Tree::new();
    let bus = tree.path().join("bus/pci/devices");
    for (number, vendor) in
        ["", "10de", "0x10de 0x10de", "0x", "0x-1", "\u{fffd}", "0xffffffffff"].iter().enumerate()
    {
        tree.device(&format!("0000:0{number}:00.0"), vendor, "0x030000\n");
    }
    tree.device("0000:10:00.0", AMD, "0x03").write("class", [0xff, 0xfe]);
    for name in ["0000:01", "x:y:z.w", "0000:01:00.0.0", "::.", "README"] {
        fs::create_dir_all(bus.join(name)).unwrap();
        fs::write(bus.join(name).join("vendor"), AMD).unwrap();
        fs::write(bus.join(name).join("class"), "0x030000").unwrap();
    }
    let pipe = tree.device("0000:11:00.0", AMD, "0x030000");
    pipe.remove("vendor");
    assert!(Command::new("mkfifo").arg(pipe.0.join("vendor")).status().unwrap().success());
    assert_eq!(tree.gpus(), []);
}

#[test]
fn a_gpu_without_a_driver_that_could_be_asked_says_so() {
    for (vendor, driver) in
        [(NVIDIA, "nouveau"), (NVIDIA, "vfio-pci"), (AMD, "vfio-pci"), (INTEL, "vfio-pci")]
    {
        let tree = Tree::new();
        tree.gpu("0000:01:00.0", vendor).driver(driver).write("gpu_busy_percent", "5");
        let gpu = tree.only();
        assert_eq!(gpu.status, Status::NoDriver, "{vendor} {driver}");
        assert_no_reading(&gpu);
    }
    let tree = Tree::new();
    tree.device("0000:01:00.0", AMD, "0x030000\n").write("gpu_busy_percent", "5");
    assert_eq!(tree.only().status, Status::NoDriver);
}

#[test]
fn gpus_may_come_and_go() {
    let tree = Tree::new();
    tree.gpu("0000:01:00.0", AMD);
    let second = tree.gpu("0000:02:00.0", AMD);
    let mut reader = tree.reader();
    let start = Instant::now();
    assert_eq!(reader.read(start).len(), 2);
    fs::remove_file(tree.path().join("bus/pci/devices/0000:02:00.0")).unwrap();
    fs::remove_dir_all(&second.0).unwrap();
    assert_eq!(reader.read(start + Duration::from_secs(1)).len(), 1, "gone at once");
    tree.gpu("0000:03:00.0", AMD);
    assert_eq!(reader.read(start + Duration::from_secs(40)).len(), 2, "found at the next search");
}

#[test]
fn addresses_are_written_as_sysfs_does() {
    for (given, normal) in [
        ("00000000:01:00.0", "0000:01:00.0"),
        ("0000:C1:00.0", "0000:c1:00.0"),
        ("00010000:01:00.0", "10000:01:00.0"),
        ("0000:01:00.0", "0000:01:00.0"),
        ("garbage", "garbage"),
    ] {
        assert_eq!(normal_address(given), normal);
    }
}

#[test]
fn without_nvml_a_gpu_of_nvidias_is_listed_but_not_read() {
    let tree = Tree::new();
    tree.gpu("0000:01:00.0", NVIDIA);
    let mut reader = tree.reader();
    let gpus = reader.read(Instant::now());
    assert_eq!((gpus[0].status, gpus[0].device_id), (Status::NoLibrary, Some(0x2684)));
    assert_no_reading(&gpus[0]);
    assert_eq!(reader.take_hints().len(), 1);
}
