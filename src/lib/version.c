/* SPDX-License-Identifier: MIT */

#include "monohandle.h"

const char *mh_version(void)
{
        return MONO_HANDLE_D_VERSION;
}
