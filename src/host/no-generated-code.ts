import { z } from 'zod'

// Without this, zod evaluates generated code for each schema, which a program with production credentials must not do. The
// file is imported before all others: zod decides when a schema is made.
z.config({ jitless: true })
