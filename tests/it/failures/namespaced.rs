//! Those that need a network, names and a name server of their own.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::*;
use crate::namespace::{Names, dead_addresses, is_inside};
use crate::network_namespace::{Answers, name_server};
use crate::rig::DASHBOARD;

/// Nothing in a new namespace leads there: it is the address of the examples.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn dashboard() -> Scene {
    let replaced = vec![(EXAMPLE, DASHBOARD.to_owned())];
    Scene { replaced, ..scene(format!("wss://{DASHBOARD}/ws"), "", None) }
}

async fn no_such_name(folder: &Path) -> Scene {
    Names::new(folder).resolve_by("nameserver 127.0.0.1\n");
    name_server(Answers::NoSuchName).await;
    dashboard()
}

/// Nothing listens on the port of name servers.
async fn no_name_server(folder: &Path) -> Scene {
    Names::new(folder).resolve_by("nameserver 127.0.0.1\n");
    dashboard()
}

async fn no_route(folder: &Path) -> Scene {
    Names::new(folder).set(&[(NOWHERE, DASHBOARD)]);
    dashboard()
}

async fn no_answer(folder: &Path) -> Scene {
    let dead = dead_addresses(1);
    Names::new(folder).set(&[(dead[0], DASHBOARD)]);
    let mut scene = dashboard();
    scene.replaced.push(("192.0.2.7:443", format!("[{}]:443", dead[0])));
    scene
}

macro_rules! tests {
    ($($name:ident;)*) => {
        pub(super) const TESTED: &[&str] = &[$(stringify!($name)),*];

        mod each {
            use super::is_inside;

            $(
                #[tokio::test]
                async fn $name() {
                    if is_inside(concat!("failures::namespaced::each::", stringify!($name))) {
                        let folder = tempfile::tempdir().unwrap();
                        super::check(stringify!($name), super::$name(folder.path()).await).await;
                    }
                }
            )*
        }
    };
}

tests! {
    no_such_name;
    no_name_server;
    no_route;
    no_answer;
}
