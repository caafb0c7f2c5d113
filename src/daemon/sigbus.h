/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What happens when the segment is pulled away under the daemon. Any process of the user can truncate the object, and
 * a touch of a page that is gone is a SIGBUS. The handler puts private zeros in the place of the whole mapping,
 * remembers that it did, and lets the interrupted code go on: that code trusts nothing that it reads from a segment
 * anyway. Whoever runs it asks sigbus_hit() before he believes, or tells anybody, what came of it.
 *
 * A SIGBUS from anywhere else ends the process as it would have without this.
 */

#include <stdbool.h>
#include <stddef.h>

int sigbus_install(void);

/* From now on this range is guarded instead of the former, and has not been hit. NULL, 0: none. */
void sigbus_watch(void *base, size_t size);

/* Was the range replaced by zeros since it was named? */
bool sigbus_hit(void);
