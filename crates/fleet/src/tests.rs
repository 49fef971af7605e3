mod connect;
mod entries;
mod names;
mod standing;
