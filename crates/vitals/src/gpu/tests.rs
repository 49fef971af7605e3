mod amd;
mod cards;
#[cfg(all(feature = "nvml", target_os = "linux"))]
mod fake;
mod handle;
mod intel;
#[cfg(all(feature = "nvml", target_os = "linux"))]
mod nvidia;
#[cfg(all(feature = "nvml", target_os = "linux"))]
mod process;
mod rest;
mod tree;
