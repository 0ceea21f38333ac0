/** What a release does while it waits for the activity of that name, in the words of the field. */
export const activityWords: Readonly<Record<string, string>> = {
  registerRelease: 'registering',
  checkPreflight: 'going through the checklist',
  evaluateCandidate: 'asking the golden set',
  provideServing: "starting the candidate's serving",
  removeServing: 'removing a serving',
  planGate: 'planning the gate',
  moveTraffic: 'moving traffic',
  watchGuards: 'watching the guards',
  judgeCanary: 'asking the gate',
  holdCanary: 'holding the weight',
  notify: 'telling the approvers',
  endRelease: 'recording the end',
};
