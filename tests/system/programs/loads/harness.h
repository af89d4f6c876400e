// What main.c sets up for a load.
#ifndef HARNESS_H
#define HARNESS_H

// The load that this process and its children are, which is over in `seconds`.
void set_load(const char *name, double seconds);

#endif
