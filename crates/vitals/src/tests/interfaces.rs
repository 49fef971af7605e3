//! Which interfaces are counted, and why none is.

use super::*;

const ROUTE: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
    eth0\t00000000\t010010AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
    eth0\t000010AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";

const ZEROS: &str = "00000000000000000000000000000000";

/// A container with two interfaces of the kind veth, and a route over the first.
fn container() -> Fake {
    let fake = Fake::empty();
    for (name, index, link) in [("lo", 1, 1), ("eth0", 2, 17), ("eth1", 3, 19)] {
        fake.write(&format!("sys/class/net/{name}/ifindex"), format!("{index}\n"));
        fake.write(&format!("sys/class/net/{name}/iflink"), format!("{link}\n"));
    }
    fake.write("proc/net/route", ROUTE);
    fake
}

fn device(fake: &Fake, name: &str) {
    fake.write(&format!("sys/class/net/{name}/device/vendor"), "0x1af4\n");
    fake.write(&format!("sys/class/net/{name}/iflink"), "2\n");
}

/// Bytes received per second; each interface receives a power of ten of its own.
fn received(fake: &Fake) -> Option<f64> {
    let mut meter = network::NetworkMeter::new(&fake.proc(), &fake.sys());
    let begin = Moment::now();
    let mut at = |seconds: u32| {
        let line = |name: &str, rate: u32| {
            let bytes = rate * seconds;
            format!("  {name}: {bytes} 0 0 0 0 0 0 0 {bytes} 0 0 0 0 0 0 0\n")
        };
        let lines = [line("lo", 1), line("eth0", 10), line("eth1", 100)].concat();
        fake.write("proc/net/dev", format!("Inter-| Receive\n face |bytes\n{lines}"));
        meter.sample(begin.after(SECOND * seconds, Duration::ZERO), &Faults::default()).unwrap()
    };
    assert_eq!(at(0), None);
    at(10).map(|network| network.received)
}

#[test]
fn in_a_container_the_interface_with_a_default_route_is_counted() {
    let fake = container();
    assert_eq!(received(&fake), Some(10.0));
    assert_eq!(network::why_none(&fake.proc(), &fake.sys()), None);
    // Of IPv6 only.
    fs::remove_file(fake.path("proc/net/route")).unwrap();
    let default = |flags: &str, name: &str| {
        format!(
            "{ZEROS} 00 {ZEROS} 00 fe800000000000000000000000000001 00000400 00000001 00000000 {flags} {name}\n"
        )
    };
    fake.write("proc/net/ipv6_route", default("00000003", "eth1") + &default("00200200", "lo"));
    assert_eq!(received(&fake), Some(100.0));
}

#[test]
fn an_adapter_is_counted_and_then_no_route_is_asked() {
    let fake = container();
    device(&fake, "eth1");
    fake.write("sys/class/net/eth1/iflink", "3\n");
    assert_eq!(received(&fake), Some(100.0), "the route is over eth0, which is above the adapter");
}

#[test]
fn routes_that_lead_nowhere_count_nothing_and_it_is_said_why() {
    let fake = container();
    let why = || network::why_none(&fake.proc(), &fake.sys());
    for (what, route) in [
        ("no route", "Iface\tDestination\n".to_owned()),
        ("not up", ROUTE.replace("0003", "0002")),
        ("rejects", ROUTE.replace("0003", "0201")),
        ("a part of the network", ROUTE.replace("\t00000000\t0\t0\t0\n", "\t00000080\t0\t0\t0\n")),
        ("of loopback", ROUTE.replace("eth0", "lo")),
        ("garbage", "\u{e9}\u{0}\n".repeat(9)),
    ] {
        fake.write("proc/net/route", route);
        assert_eq!(received(&fake), None, "{what}");
        let wanted = "no interface has hardware behind it or a default route: eth0, eth1";
        assert_eq!(why().as_deref(), Some(wanted), "{what}");
    }
    fake.write("proc/net/dev", "Inter-|\n face |\n    lo: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n");
    assert_eq!(why().as_deref(), Some("there is no interface besides loopback"));
    fs::remove_file(fake.path("proc/net/dev")).unwrap();
    assert!(why().unwrap().contains("there is no /"));
}

#[test]
fn a_line_of_an_interface_may_have_any_name() {
    let head = b"Inter-|\n face |\n";
    let line = b"abc\xff: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\nteam0:1: 2 0 0 0 0 0 0 0 3 0 0 0 0 0 0 0\neth0:4 0 0 0 0 0 0 0 5 0 0 0 0 0 0 0\n";
    let Parsed { value, odd } = network::parse(&[&head[..], line].concat());
    let wanted: rate::Counters = [("team0:1".to_owned(), [2, 3]), ("eth0".to_owned(), [4, 5])].into();
    assert_eq!((value, odd.unwrap().line), (Some(wanted), Some(3)));
}
