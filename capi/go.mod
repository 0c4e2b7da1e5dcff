module libstreamer/capi

go 1.19
