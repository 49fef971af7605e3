mod amd;
mod cards;
#[cfg(all(feature = "nvml", target_os = "linux"))]
mod fake;
mod handle;
mod intel;
#[cfg(all(feature = "nvml", target_os = "linux"))]
mod nvidia;
mod rest;
mod tree;
